"""`transferlab soup`: read a study, average its runs group by group, say what came of it."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from transferlab import parsers, results
from transferlab.compare.budgets import SOUPS
from transferlab.compare.metric import Metric
from transferlab.compare.reading import WANDB, find
from transferlab.errors import InputError
from transferlab.results import Record
from transferlab.souping.groups import Finished, Group, finished, groups, identity, ingredients
from transferlab.trust import trust

if TYPE_CHECKING:
    from transferlab.souping.bench import Bench

_SWEEP = "transferlab train -m study=NAME strategy=full_finetune optimizer.lr=0.01,0.03,0.1 'seed=range(5)'"


@dataclass(frozen=True)
class Options:
    """What soups are asked for.

    Attributes:
        study: its name, or its folder; None: the only one under `runs`.
        runs: where studies lie.
        kinds: `greedy`, `uniform`.
        strategies: whose runs are averaged; none: all.
        batchnorm: statistics `averaged` like weights, or `recomputed`.
        trust: packages whose code configs of runs may name.
    """

    study: str | None
    runs: Path
    kinds: Sequence[str]
    strategies: Sequence[str]
    batchnorm: str
    trust: Sequence[str]


def options(words: Sequence[str]) -> Options:
    """The options of a command line.

    Raises:
        InputError: no such flag or value.
    """
    parser = parsers.of("soup", "Average the weights of a study's finished runs, one soup a seed.")
    parsers.add_study(parser)
    parsers.add_trust(parser)
    add = parser.add_argument
    add("--kind", choices=list(SOUPS), help="greedy: chosen on the held-out labels; uniform: all (default: both)")
    add("--strategies", default="", help="whose runs, with commas between (default: all)")
    add("--batchnorm", choices=["averaged", "recomputed"], default="averaged", help="its statistics")
    found = vars(parser.parse_args(list(words)))
    kind = found.pop("kind")
    strategies = [name.strip() for name in found.pop("strategies").split(",") if name.strip()]
    return Options(kinds=[kind] if kind else list(SOUPS), strategies=strategies, **found)


def soup(asked: Options) -> None:
    """Make the soups that are not there yet, replace those of other runs, and show them all.

    Raises:
        InputError: no such study or strategy, or nothing in it that could be averaged.
    """
    trust(asked.trust)
    console = Console(width=None if Console().is_terminal else 160)
    if asked.study is not None and asked.study.startswith(WANDB):
        raise InputError(f"{asked.study} has no weights to average: name a study on disk, or its folder")
    (study,) = find([asked.study] if asked.study else [], asked.runs)
    runs = finished(Path(study))
    own, unfit = ingredients(runs, asked.strategies)
    found, alone = groups(own)
    for line in (*unfit, *alone):
        _say(line, console)
    if not found:
        raise InputError(
            f"nothing in {study} can be averaged: it takes two finished runs of one source, target, task, backbone and "
            f"seed that differ in rates, augmentation, epochs or strategy, as {_SWEEP} makes them"
        )
    made = [(group, *one) for group in found for one in _soups(group, runs, asked, console)]
    if not made:
        raise InputError(f"no soup of {study} could be made, for the reasons above")
    console.print(_table([(group, record) for group, record, _ in made]))
    if before := sum(there for *_, there in made):
        _say(f"{before} of {len(made)} soups were there already", console)


def _soups(group: Group, runs: Sequence[Finished], asked: Options, console: Console) -> Iterator[tuple[Record, bool]]:
    """The soups of a group, and whether they were there already."""
    bench = cache(lambda: _bench(group, console))
    for kind in asked.kinds:
        if kind == "greedy" and not group.validated:
            _say(f"{group.name}: no labels are held out to choose a greedy soup on (target.validation)", console)
            continue
        folder = group.best.folder.parent / identity(kind, group, asked.batchnorm)
        with results.held(folder, f"waiting for another process that makes {folder}"):
            record = before = results.read(folder)
            if record is not None:
                _renew(folder, record, group)
            elif len(bench().ingredients) > 1:
                from transferlab.souping.making import made

                record = made(kind, group, bench(), asked.batchnorm, folder)
        if record is None:
            shutil.rmtree(folder)
        else:
            _replace(kind, group, runs, folder, console)
            yield record, before is not None


def _bench(group: Group, console: Console) -> "Bench":
    from transferlab.souping.bench import Bench

    bench = Bench(group)
    for line in bench.refused:
        _say(line, console)
    return bench


def _replace(kind: str, group: Group, runs: Sequence[Finished], folder: Path, console: Console) -> None:
    """Remove the group's earlier soups of a kind: two under one seed would be compared as one strategy's."""
    for run in runs:
        same = run.is_soup and run.record["soup"]["kind"] == kind and run.group == group.best.group
        if same and run.folder != folder:
            shutil.rmtree(run.folder)
            _say(
                f"{group.name}: the {kind} soup {run.run_id} of other runs or statistics is replaced by {folder.name}",
                console,
            )


def _renew(folder: Path, record: Record, group: Group) -> None:
    """What the group's config has in common may have become less by runs under other seeds."""
    config = {**group.config, "axes": record["config"]["axes"]}
    if record["config"] != config:
        results.write(folder, {**record, "config": config})


def _table(made: Sequence[tuple[Group, Record]]) -> Table:
    table = Table(box=SIMPLE_HEAD)
    for column in ("runs", "soup", "kept", "validation", "test: best run", "test: soup"):
        table.add_column(column, justify="left" if column in ("runs", "soup") else "right")
    for group, record in made:
        scores, own = record["metrics"]["selected"], record["soup"]["ingredients"]
        first = next(run for run in group.ingredients if run.run_id == own[0]["run_id"])
        kept = f"{sum(one['kept'] for one in own)} of {len(own)}"
        validation = _text(group.metric, scores.get(group.metric))
        best = _text(group.tested, first.selected(group.tested) if group.validated else None)
        table.add_row(
            group.name, record["soup"]["kind"], kept, validation, best, _text(group.tested, scores.get(group.tested))
        )
    return table


def _text(metric: str, value: float | None) -> str:
    return "-" if value is None else Metric(metric).text(value)


def _say(line: str, console: Console) -> None:
    console.print(line, soft_wrap=True, markup=False, highlight=False)
