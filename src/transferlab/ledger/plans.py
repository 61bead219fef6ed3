"""What multiruns are to run, kept in their study's folder: a file a command, so that runs which never began are known.

Several commands may start into one study at the same time: each writes a file of its own, whole or not at all, and the
study is to have the runs of all of them. The same command writes the same file.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import orjson
from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, OmegaConf

from transferlab import results
from transferlab.composing import Composer, Plan
from transferlab.expanding import configs, is_known, lists
from transferlab.files import writable, write_text
from transferlab.search.planning import alone, composed

FOLDER = "plans"
"""In a study's folder."""
_SCHEMA = 1
_AXES = ("source", "target", "strategy", "backbone", "seed")


@dataclass(frozen=True)
class Planned:
    """A run that a command asks for.

    Attributes:
        folder: where it is to lie.
        axes: as in its record.
        words: its overrides.
        varied: those of them in which it differs from the command's other runs.
    """

    folder: Path
    axes: Mapping[str, Any]
    words: tuple[str, ...]
    varied: tuple[str, ...]


@dataclass(frozen=True)
class Command:
    """A multirun, as far as it goes into one study.

    Attributes:
        name: of the config that it starts from.
        config_dir: the user's own folder of configs.
        config_path: a folder in place of the shipped configs.
        hydra: its overrides of Hydra's own section.
        study: the study's name when it started.
        runs: those that it asks for.
        search: of which they are trials, as far as they were drawn; None: they were listed.
        file: that says so.
    """

    name: str
    config_dir: str | None
    config_path: str | None
    hydra: tuple[str, ...]
    study: str
    runs: tuple[Planned, ...]
    search: Mapping[str, Any] | None = None
    file: Path = Path()


def planned(composer: Composer, plan: Plan) -> list[Planned]:
    """The runs of a command that was checked, of which the jobs are known."""
    listed = lists(plan)
    composer.expect(plan.jobs)
    found = []
    for words, config in zip(product(*listed), configs(composer, hydra_words(plan), product(*listed)), strict=True):
        axes = OmegaConf.to_container(config.axes, resolve=True)
        assert isinstance(axes, dict)
        told = {str(key): value for key, value in axes.items()} | {"seed": config.seed}
        found.append(Planned(results.folder(config), told, words, _varied(words, listed)))
    return found


def drawn(loader: ConfigLoader, master: DictConfig, words: Sequence[str], varied: Sequence[str]) -> Planned:
    """A run that a sweeper asks for which decides as it goes.

    Args:
        loader: of configs.
        master: the command's config, with its `hydra` section.
        words: overrides that it shares with others.
        varied: those in which it differs from them; some may be among `words`.
    """
    every = tuple(dict.fromkeys((*words, *varied)))
    config = alone(composed(loader, master, every))
    axes = OmegaConf.to_container(config.axes)
    assert isinstance(axes, dict)
    told = {str(key): value for key, value in axes.items()} | {"seed": config.seed}
    return Planned(results.folder(config), told, every, tuple(varied))


def hydra_words(plan: Plan) -> list[str]:
    """What a command says of Hydra's own section, but for what its sweeper is to run."""
    own = [str(override.input_line) for override in plan.overrides if override.is_hydra_override()]
    return [word for word in own if not word.lstrip("+~").startswith(("hydra.mode", "hydra.sweeper.params"))]


def leave(composer: Composer, plan: Plan) -> None:
    """Write down what a multirun will run, before it does; what a sweeper that searches will run nobody can know.

    Args:
        composer: of the command.
        plan: of the command.

    Raises:
        InputError: the study's folder cannot be written.
    """
    if not plan.multirun or not is_known(plan):
        return
    start = {"name": composer.config_name, "dir": _absolute(composer.config_dir), "path": composer.config_path}
    listed, runs = lists(plan), planned(composer, plan)
    name = hashlib.sha256(json.dumps([start, listed]).encode()).hexdigest()[:10]
    for study in dict.fromkeys(run.folder.parent for run in runs):
        rows = [[run.folder.name, *map(run.axes.get, _AXES)] if run.folder.parent == study else None for run in runs]
        told = {"schema": _SCHEMA, "config": start, "hydra": hydra_words(plan), "lists": listed, "runs": rows}
        _write(study / FOLDER / f"{name}.json", {**told, "study": _name(study, plan)})


def leave_drawn(
    file: Path, name: str, start: Mapping[str, str | None], hydra: Sequence[str], asked: Sequence[Planned], search: Any
) -> None:
    """Write down what a sweeper that searches is to run next, beside what it asked for before.

    Args:
        file: in the folder of plans.
        name: of the study.
        start: the config that its jobs start from: its name, and the folders `dir` and `path`.
        hydra: overrides of Hydra's own section.
        asked: runs with all their overrides.
        search: what is kept of it, None where the runs are no trials.

    Raises:
        InputError: the study's folder cannot be written.
    """
    before = [run for command in read(file.parent.parent) if command.file == file for run in command.runs]
    runs = list({run.folder.name: run for run in (*before, *asked)}.values())
    rows = [[run.folder.name, *map(run.axes.get, _AXES)] for run in runs]
    jobs = [[list(run.words), list(run.varied)] for run in runs]
    told = {"schema": _SCHEMA, "config": dict(start), "hydra": list(hydra), "drawn": jobs, "runs": rows}
    _write(file, {**told, "study": name, "search": search})


def read(study: Path) -> list[Command]:
    """The commands that went into a study; a file that is none of ours, or of a newer version, is passed over."""
    found = []
    for file in sorted((study / FOLDER).glob("*.json")):
        try:
            found.append(_command(orjson.loads(file.read_bytes()), file))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return found


def forget(study: Path, runs: Sequence[Path]) -> None:
    """Take runs out of all plans of a study; a plan without any goes.

    Raises:
        InputError: the study's folder cannot be written.
    """
    names = {run.name for run in runs}
    for file in sorted((study / FOLDER).glob("*.json")):
        plan = orjson.loads(file.read_bytes())
        kept = [None if row is None or row[0] in names else row for row in plan["runs"]]
        if not any(kept):
            with writable(file):
                file.unlink()
        elif kept != plan["runs"]:
            _write(file, {**plan, "runs": kept})


def _command(plan: Mapping[str, Any], file: Path) -> Command:
    if plan["schema"] != _SCHEMA:
        raise ValueError("of a newer version")
    study, start = file.parent.parent, plan["config"]
    runs = [
        Planned(study / row[0], dict(zip(_AXES, row[1:], strict=True)), tuple(words), tuple(varied))
        for (words, varied), row in zip(_jobs(plan), plan["runs"], strict=True)
        if row is not None
    ]
    more = (plan["study"], tuple(runs), plan.get("search"), file)
    return Command(start["name"], start["dir"], start["path"], tuple(plan["hydra"]), *more)


def _jobs(plan: Mapping[str, Any]) -> Iterable[tuple[Sequence[str], Sequence[str]]]:
    """The overrides of each job of a plan, and those of them in which it differs from the others."""
    if "drawn" in plan:
        return [(words, varied) for words, varied in plan["drawn"]]
    return ((words, _varied(words, plan["lists"])) for words in product(*plan["lists"]))


def _varied(words: Sequence[str], listed: Sequence[Sequence[str]]) -> tuple[str, ...]:
    return tuple(word for word, values in zip(words, listed, strict=True) if len(values) > 1)


def _name(study: Path, plan: Plan) -> str:
    runs = Path(str(plan.config.paths.runs))
    return str(study.relative_to(runs)) if study.is_relative_to(runs) else study.name


def _absolute(folder: str | None) -> str | None:
    return None if folder is None else str(Path(folder).resolve())


def _write(file: Path, plan: Mapping[str, Any]) -> None:
    with writable(file.parent):
        file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps(plan) + "\n")
