"""`transferlab clean`: away with what is of no use in a study's folder, once it was shown and agreed to."""

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from filelock import FileLock
from rich.filesize import decimal

from transferlab import parsers, results
from transferlab.errors import InputError
from transferlab.files import TEMPORARY, try_lock, writable
from transferlab.ledger import plans, studies
from transferlab.ledger.runs import OVER, Entry
from transferlab.pulse import FILE

KINDS = ("failed", "interrupted", "leftovers")
_REMOVED = ".removed-"


@dataclass(frozen=True)
class Options:
    """What is to be removed.

    Attributes:
        study: its name, or its folder; None: the only one under `runs`.
        runs: where studies lie.
        only: of `KINDS`.
        forget: also what was planned and never began.
        yes: without asking.
    """

    study: str | None
    runs: Path
    only: Sequence[str]
    forget: bool
    yes: bool


@dataclass(frozen=True)
class Waste:
    """What is of no use.

    Attributes:
        kind: one of `KINDS`.
        paths: files, or the folder of a run.
        told: what it is.
    """

    kind: str
    paths: Sequence[Path]
    told: str

    @cached_property
    def bytes(self) -> int:
        """On disk, when it was first asked; a file of two names counts once."""
        return sum({(one.st_dev, one.st_ino): one.st_size for path in self.paths for one in _files(path)}.values())


def options(words: Sequence[str]) -> Options:
    """The options of a command line.

    Raises:
        InputError: no such flag or kind.
    """
    told = "Remove failed and interrupted runs of a study, and what killed processes left."
    parser = parsers.of("clean", told)
    parsers.add_study(parser)
    add = parser.add_argument
    add("--only", default="", help=f"some of {', '.join(KINDS)}, with commas between (default: all)")
    add("--forget", action="store_true", help="also forget runs that a command asked for and that never began")
    add("--yes", action="store_true", help="do not ask")
    found = vars(parser.parse_args(list(words)))
    return Options(only=studies.named(found.pop("only"), KINDS), **found)


def clean(asked: Options) -> None:
    """List what is of no use with its size, ask, and remove it; finished, diverged and running runs stay.

    Raises:
        InputError: no such study, nobody to ask, or the folder cannot be written.
    """
    study = studies.folder(asked.study, asked.runs)
    entries = studies.entries(study)
    waste = [one for one in _waste(study, entries) if one.kind in asked.only]
    missing = [entry.folder for entry in entries if entry.state == "missing"] if asked.forget else []
    if not waste and not missing:
        print(f"{study} has nothing to remove ({studies.tally(entries)})")
        return
    for one in waste:
        print(f"{one.kind:12s} {decimal(one.bytes):>10s}  {one.told}")
    if missing:
        print(f"{len(missing)} runs that never began are forgotten")
    total = sum(one.bytes for one in waste)
    if not asked.yes and not _agreed(f"remove {decimal(total)} of {study}, for good? [y/N] "):
        print("nothing was removed")
        return
    kept = [one for one in waste if not _remove(one)]
    plans.forget(study, missing)
    for one in kept:
        print(f"left alone, as it began meanwhile: {one.told}")
    print(f"removed {decimal(total - sum(one.bytes for one in kept))}")


def _waste(study: Path, entries: Sequence[Entry]) -> Iterator[Waste]:
    for entry in entries:
        if entry.state in ("failed", "interrupted"):
            yield Waste(entry.state, [entry.folder], f"{entry.folder.name}  {entry.title}  {entry.reason}")
        elif entry.state in OVER and (left := _leftovers(entry.folder)):
            names = ", ".join(path.name for path in left)
            yield Waste("leftovers", left, f"{entry.folder.name}  {names}")
    lying = (*study.iterdir(), *(study / plans.FOLDER).glob(".*"))
    beside = [path for path in lying if path.name.startswith(_REMOVED) or TEMPORARY.fullmatch(path.name)]
    yield from (Waste("leftovers", [path], path.name) for path in sorted(beside))


def _leftovers(run: Path) -> list[Path]:
    """What a run that is over does not need."""
    passing = {*results.PASSING, results.LOCK, FILE}
    return sorted(path for path in run.iterdir() if path.name in passing or TEMPORARY.fullmatch(path.name))


def _remove(waste: Waste) -> bool:
    """Remove it, unless it is a run that somebody has begun or ended meanwhile."""
    (first, *_) = waste.paths
    with writable(first):
        if waste.kind != "leftovers":
            return _remove_run(first)
        for path in waste.paths:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    return True


def _remove_run(run: Path) -> bool:
    """Hold it while it moves aside, so that it is there for others wholly or not at all."""
    lock = FileLock(run / results.LOCK)
    if not try_lock(lock):
        return False
    aside = run.with_name(f"{_REMOVED}{run.name}-{os.getpid()}")
    try:
        if results.is_over(results.read(run)):
            return False
        os.replace(run, aside)
    finally:
        lock.release()
    shutil.rmtree(aside)
    return True


def _files(path: Path) -> Iterator[os.stat_result]:
    found = [Path(folder, name) for folder, _, names in os.walk(path) for name in names]
    for file in found or [path]:
        with suppress(OSError):  # it has gone meanwhile
            yield file.lstat()


def _agreed(question: str) -> bool:
    """Whether the user says yes.

    Raises:
        InputError: there is no terminal to ask at.
    """
    if not sys.stdin.isatty():
        raise InputError("there is no terminal to ask at: say --yes")
    return input(question).strip().lower() in ("y", "yes")
