"""A study: the runs to compare, each in its place, and all that is left out."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import pandas as pd

from transferlab.compare.conditions import check_keys, condition
from transferlab.compare.reading import Found, LeftOut, begin
from transferlab.compare.runs import Run
from transferlab.compare.settings import SETTING, Place, places
from transferlab.errors import InputError, unknown

_NUMBER = re.compile(r"(\d+(?:\.\d+)?)")
_COSTS = (
    "seconds",
    "fit_seconds",
    "samples",
    "trainable_parameters",
    "total_parameters",
    "flops",
    "peak_memory_bytes",
)


@dataclass(frozen=True)
class Study:
    """What is compared.

    Attributes:
        name: of the study, or of the places it was read from.
        metric: of which `score` is the selected epoch's value.
        table: one row a run: run_id, where, source, target, backbone, strategy (the row it belongs to), method (the
            strategy's own name), seed, score, val, last, oracle, and its costs.
        runs: the runs themselves, by id.
        places: where each stands, by id.
        left_out: every record that is not among them.
    """

    name: str
    metric: str
    table: pd.DataFrame
    runs: dict[str, Run]
    places: dict[str, Place]
    left_out: tuple[LeftOut, ...]


def load(
    places_: Sequence[str | Path], metric: str | None, by: Sequence[str] = ("strategy",), where: str = ""
) -> Study:
    """Read every record under folders or at W&B addresses, and put each run into its place.

    Args:
        places_: as `reading.begin` takes them.
        metric: as `arrange` takes the rest.
        by: likewise.
        where: likewise.

    Raises:
        InputError: likewise.
    """
    return arrange(begin(places_)(), places_, metric, by, where)


def arrange(
    found: Found, places_: Sequence[str | Path], metric: str | None, by: Sequence[str] = ("strategy",), where: str = ""
) -> Study:
    """Put each run that was read into its place.

    Args:
        found: runs, and what is none.
        places_: where they were read, for messages.
        metric: of the selected epoch, e.g. `test/accuracy`; None: the task's, else what most runs were tested by.
        by: axes or config keys that make the rows.
        where: a condition on runs; empty: all.

    Raises:
        InputError: no finished run, no such metric, key or condition.
    """
    runs, left_out = found
    names = ", ".join(map(str, places_))
    if not runs:
        reasons = "; ".join(map(str, left_out[:3]))
        raise InputError(f"there is no finished run under {names} ({reasons or 'none at all'})")
    if where:
        runs, others = _asked_for(runs, where)
        left_out = [*left_out, *others]
        if not runs:
            raise InputError(f"no finished run under {names} has {where}")
    metric = metric or _primary(runs)
    if "/" not in metric:
        known = {key: 0 for run in runs for key in run.metrics["selected"] or () if "/" in key}
        raise unknown("metric", metric, known)
    runs, without = _with_metric(runs, metric)
    placed = places(runs, by)
    runs, twice = _one_a_seed(runs, placed)
    rows = [_row(run, placed[run.run_id], metric) for run in runs]
    rows.sort(key=lambda row: [_natural(str(row[key])) for key in (*SETTING, "strategy", "seed")])
    names = ", ".join(dict.fromkeys(run.study for run in runs))
    return Study(
        names, metric, pd.DataFrame(rows), {run.run_id: run for run in runs}, placed, (*left_out, *without, *twice)
    )


def _asked_for(runs: Sequence[Run], where: str) -> tuple[list[Run], list[LeftOut]]:
    """The runs of which a condition holds, and the others."""
    holds = condition(where)
    check_keys(where, runs)
    kept = {run.run_id: holds(run) for run in runs}
    others = [LeftOut(run.where, "not asked for", where) for run in runs if not kept[run.run_id]]
    return [run for run in runs if kept[run.run_id]], others


def _primary(runs: Sequence[Run]) -> str:
    """The metric of most runs' task where they were tested by it; accuracy; else what most runs were tested by."""
    counts: dict[str, int] = {}
    for run in runs:
        for key in run.metrics["selected"] or ():
            if key.startswith("test/") and key != "test/loss":
                counts[key] = counts.get(key, 0) + 1
    if not counts:
        return "test/loss"
    chosen = Counter(f"test/{run.config['task.metric']}" for run in runs if "task.metric" in run.config)
    if chosen and (asked := chosen.most_common(1)[0][0]) in counts:
        return asked
    return "test/accuracy" if "test/accuracy" in counts else max(counts, key=lambda key: counts[key])


def _with_metric(runs: Sequence[Run], metric: str) -> tuple[list[Run], list[LeftOut]]:
    """The runs that have a number for the metric, and the others."""
    kept, left_out = [], []
    for run in runs:
        selected = run.metrics["selected"] or {}
        if metric not in selected:
            known = ", ".join(key for key in selected if "/" in key)
            left_out.append(LeftOut(run.where, "no metric", f"{metric} is not among its own ({known})"))
        elif not isinstance(selected[metric], (int, float)) or not isfinite(selected[metric]):
            left_out.append(LeftOut(run.where, "no number", f"{metric} is NaN or infinite"))
        else:
            kept.append(run)
    if not kept and any(item.kind == "no number" for item in left_out):
        raise InputError(f"{metric} is NaN or infinite in all of the {len(runs)} runs; choose another --metric")
    if not kept:
        raise unknown("metric", metric, {key: 0 for run in runs for key in run.metrics["selected"] or () if "/" in key})
    return kept, left_out


def _one_a_seed(runs: Sequence[Run], placed: dict[str, Place]) -> tuple[list[Run], list[LeftOut]]:
    """One run for each place and seed; a second one differs in nothing that is compared, say in what it also logged."""
    kept: dict[tuple[Any, ...], Run] = {}
    left_out = []
    for run in runs:
        place = placed[run.run_id]
        key = (*place.setting.values(), place.row, str(run.seed))
        if key in kept:
            left_out.append(LeftOut(run.where, "duplicate", f"as {kept[key].where}, up to what is not compared"))
        else:
            kept[key] = run
    return list(kept.values()), left_out


def _row(run: Run, place: Place, metric: str) -> dict[str, Any]:
    def of(which: str) -> Any:
        return (run.metrics[which] or {}).get(metric)

    split = metric.partition("/")[2]
    return {
        "run_id": run.run_id,
        "where": run.where,
        **{key: place.setting[key] for key in SETTING},
        "strategy": place.row,
        "method": str(run.axes["strategy"]),
        "seed": run.seed,
        "score": of("selected"),
        "val": (run.metrics["selected"] or {}).get(f"val/{split}"),
        "last": of("last"),
        "oracle": of("oracle"),
        **{key: run.cost.get(key) for key in _COSTS},
    }


def _natural(text: str) -> list[tuple[float, str]]:
    """An order in which `labels=5` comes before `labels=10`."""
    return [(float(part), "") if number else (0.0, part) for number, part in _numbered(text)]


def _numbered(text: str) -> Iterator[tuple[bool, str]]:
    for at, part in enumerate(_NUMBER.split(text)):
        yield bool(at % 2), part
