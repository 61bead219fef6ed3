"""How far scores of transferability put sources and backbones in the order that runs from them then had."""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import weightedtau

from transferlab.compare.records import Study
from transferlab.compare.runs import Run, flat
from transferlab.directions import sign
from transferlab.results import COMPUTING

FROM = ("source", "backbone", "target", "task")
"""Nodes of a run's config from which the scores of where it starts come."""
COLUMNS = ("target", "strategy", "score", "tau", "candidates")
Start: TypeAlias = frozenset[tuple[str, str]]
"""What of a flat config says from where a run starts."""
_LEAST = 3  # candidates: of two, every score has all or nothing right
_ROUND_OFF = tuple(f"trainer.{key}" for key in COMPUTING)


def foretold(study: Study, rankings: Iterable[Mapping[str, Any]], direction: int) -> pd.DataFrame:
    """Weighted Kendall tau of each score with what was achieved, over the candidates that have both.

    A candidate is a source on a backbone; a run is of one where source, backbone, target and task are the same to the
    last setting. What it achieved is the mean over its runs. Runs from random weights take nothing of the source, and
    are left out where they name one.

    Args:
        study: the runs.
        rankings: as `scored.rankings` gives them, the newest first, which counts.
        direction: of the metric, 1 where more is better.

    Returns:
        One row a target, strategy and score: tau, and over how many candidates; none of fewer than three.
    """
    known = said_of(rankings)
    achieved: dict[tuple[str, str], dict[Start, list[float]]] = {}
    for row in study.table.to_dict("records") if known else ():
        run = study.runs[row["run_id"]]
        start = start_of(run)
        if start in known and not _ignores_its_source(run):
            place = achieved.setdefault((str(row["target"]), str(row["strategy"])), {})
            place.setdefault(start, []).append(direction * float(row["score"]))
    rows = [(*place, *row) for place, found in achieved.items() for row in _rows(found, known)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def said_of(rankings: Iterable[Mapping[str, Any]]) -> dict[Start, Mapping[str, float]]:
    """Scores of each candidate by where its runs start; of several rankings the first that has it counts."""
    known: dict[Start, Mapping[str, float]] = {}
    for said in rankings:
        for row in said["rows"]:
            known.setdefault(_start(flat({key: row["config"][key] for key in FROM})), row["scores"])
    return known


def start_of(run: Run) -> Start:
    """Where a run starts."""
    return _start(run.config.items())


def tau(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Weighted Kendall tau of two scores of the same candidates (K,); those that lack one are left out.

    Vigna 2015, "A Weighted Correlation Index for Rankings with Ties" (WWW): places near the top count more.

    Returns:
        Between -1 and 1; NaN where fewer than two candidates have both, or one puts all of them alike.
    """
    both = np.isfinite(one) & np.isfinite(other)
    if both.sum() < 2:
        return float("nan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return float(weightedtau(one[both], other[both]).statistic)


def agreement(rows: Sequence[Mapping[str, float]], names: Sequence[str]) -> pd.DataFrame:
    """The tau of every two scores, each turned so that more is better.

    Args:
        rows: of each candidate, the scores that it has.
        names: of the scores.

    Returns:
        A square table by name.
    """
    columns = {name: _column(rows, name) for name in names}
    taus = [[tau(columns[one], columns[other]) for other in names] for one in names]
    return pd.DataFrame(taus, index=list(names), columns=list(names))


def _rows(
    found: Mapping[Start, Sequence[float]],
    known: Mapping[Start, Mapping[str, float]],
) -> Iterator[tuple[str, float, int]]:
    scores = [known[start] for start in found]
    achieved = np.array([np.mean(values) for values in found.values()])
    for name in dict.fromkeys(name for row in scores for name in row):
        column = _column(scores, name)
        if (count := int(np.isfinite(column).sum())) >= _LEAST:
            yield name, tau(column, achieved), count


def _column(rows: Sequence[Mapping[str, float]], name: str) -> NDArray[np.float64]:
    return np.array([sign(name) * row[name] if name in row else np.nan for row in rows])


def _start(config: Iterable[tuple[str, Any]]) -> Start:
    return frozenset(
        (key, str(value)) for key, value in config if key.partition(".")[0] in FROM and not key.endswith(_ROUND_OFF)
    )


def _ignores_its_source(run: Run) -> bool:
    return run.config.get("strategy.start") == "random" and str(run.axes["source"]) != "none"
