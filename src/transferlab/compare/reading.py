"""Which records there are, on disk or in W&B: each is read as a run, or left out with a reason."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

from transferlab import results
from transferlab.compare.processes import forking
from transferlab.compare.runs import Run, run_of
from transferlab.cores import usable_cores
from transferlab.errors import InputError, unknown
from transferlab.migrations import migrated

WANDB = "wandb:"
_ASKED_FOR = {results.PRETRAINING: "pretraining of a source", results.CANDIDATES: "candidate of strategy=auto"}
_TRACKED = "wandb"
_HALF = "run.json is missing, no record, or half of one"
# A process starts for this many records, and is handed so many at a time.
_WORTH_A_PROCESS, _AT_A_TIME = 200, 50


@dataclass(frozen=True)
class LeftOut:
    """A record that is not compared.

    Attributes:
        where: its folder or address.
        kind: `unreadable`, `duplicate`, `failed`, `diverged`, `interrupted`, `no metric`, `not asked for`, ...
        reason: the rest of the sentence.
    """

    where: str
    kind: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.kind}{': ' if self.reason else ''}{self.reason}"


Found: TypeAlias = tuple[list[Run], list[LeftOut]]


def find(names: Iterable[str], runs: Path) -> list[str | Path]:
    """What names of studies, paths and `wandb:` addresses stand for; without a name, the only study there is.

    Raises:
        InputError: no such study, or several to choose from.
    """
    names = list(names)
    studies = sorted(path.name for path in runs.glob("*") if path.is_dir() and path.name not in _ASKED_FOR)
    if not names:
        if not studies:
            raise InputError(f"there are no runs under {runs}; train some, or set --runs")
        if len(studies) > 1:
            raise InputError(f"there are several studies under {runs}: name one of {', '.join(studies)}")
        names = studies
    return [name if name.startswith(WANDB) else _folder(name, runs, studies) for name in names]


def begin(places: Sequence[str | Path]) -> Callable[[], Found]:
    """Begin to read every record under folders or at W&B addresses.

    Many records on disk are read by other processes, so that a caller has something else to do meanwhile.

    Args:
        places: folders, at any depth above runs, or `wandb:entity/project[/group]`.

    Returns:
        What waits for the end, and gives the finished runs, none twice, and all else.
    """
    begun = [(_from_wandb(place) if isinstance(place, str) else _from_disk(place)) for place in places]
    return lambda: _told_apart(chain.from_iterable(begun))


def _from_wandb(address: str) -> Iterator[Run | LeftOut]:
    from transferlab.compare.wandb_runs import read

    for name, record in read(address):
        yield _taken(name, record)


def _from_disk(folder: Path) -> Iterator[Run | LeftOut]:
    folders = list(_run_folders(folder))
    take = partial(_read, studied=folder.name)
    processes = min(usable_cores(), len(folders) // _WORTH_A_PROCESS)
    if processes < 2 or (context := forking()) is None:
        return map(take, folders)
    pool = ProcessPoolExecutor(processes, mp_context=context)
    found = pool.map(take, folders, chunksize=_AT_A_TIME)  # starts now
    pool.shutdown(wait=False)  # takes no more work, and ends when this is done
    return found


def _run_folders(folder: Path) -> Iterator[Path]:
    """Folders of runs, in order; what lies inside one, such as a tracker's files, is not searched.

    A config without a record, and a record that is half written, are of a run too, to be named and left out.
    """
    seen: set[tuple[int, int] | None] = set()
    for path, inside, files in os.walk(folder, followlinks=True):
        inside[:] = sorted(set(inside) - {_TRACKED})  # a comparison's own W&B run has a config too
        node = _node(path)
        if node in seen:  # links may lead in a circle
            inside.clear()
            continue
        seen.add(node)
        if {"run.json", "config.yaml"} & {*files, *inside} or any(name.startswith(".run.json-") for name in files):
            inside.clear()
            yield Path(path)


def _node(folder: str) -> tuple[int, int] | None:
    """By what a folder is known, whatever its names; None: it has gone meanwhile."""
    try:
        found = os.stat(folder)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _read(folder: Path, studied: str) -> Run | LeftOut:
    found = _taken(str(folder), results.raw(folder) or _HALF)
    if isinstance(found, Run) and found.study in _ASKED_FOR and found.study != studied:
        return LeftOut(found.where, _ASKED_FOR[found.study])
    return found


def _taken(where: str, record: dict[str, Any] | str) -> Run | LeftOut:
    """A finished record in today's schema as a run, or why it is none."""
    if isinstance(record, str):
        return LeftOut(where, "unreadable", record)
    try:
        record = migrated(record)
    except InputError as error:
        return LeftOut(where, "unreadable", str(error))
    status = record.get("status")
    if status not in results.STATUSES:
        return LeftOut(where, "unreadable", f"its status is {status!r}, none of {', '.join(results.STATUSES)}")
    if status != "finished":
        return LeftOut(where, str(status), str(record.get("reason") or ""))
    try:
        return run_of(record, where)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        return LeftOut(where, "unreadable", f"a finished record's {type(error).__name__}: {error}")


def _told_apart(found: Iterable[Run | LeftOut]) -> Found:
    kept: dict[str, Run] = {}
    left_out: list[LeftOut] = []
    for item in found:
        if isinstance(item, LeftOut):
            left_out.append(item)
        elif item.run_id in kept:
            left_out.append(LeftOut(item.where, "duplicate", f"the same run lies in {kept[item.run_id].where} too"))
        else:
            kept[item.run_id] = item
    return list(kept.values()), left_out


def _folder(name: str, runs: Path, studies: Sequence[str]) -> Path:
    found = next((path for path in (runs / name, Path(name)) if path.is_dir()), None)
    if found is None:
        raise unknown("study", name, studies)
    return found
