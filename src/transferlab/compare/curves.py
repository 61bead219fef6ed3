"""How it went: curves over epochs with bands over seeds, score against labels, what trained when."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from transferlab.compare.runs import Curves, Run
from transferlab.compare.settings import SETTING
from transferlab.compare.statistics import CONFIDENCE

Key = tuple[str, str, str, str]
"""source, target, backbone, strategy"""
_LABELS = "target.labels"


@dataclass(frozen=True)
class Band:
    """A curve over seeds, an entry an epoch that some run measured.

    Attributes:
        epochs: (E,).
        mean: over the runs that measured the epoch, (E,).
        low: of the Student interval, (E,); NaN where fewer than two runs measured it.
        high: likewise.
        runs: how many runs measured it, (E,).
    """

    epochs: NDArray[np.int64]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    runs: NDArray[np.int64]


@dataclass(frozen=True)
class Timeline:
    """What trained when in one run, which stands for those of its strategy.

    Attributes:
        stages: from input to head.
        rates: learning rate of each stage in each epoch, (stages, epochs), NaN where it is frozen.
        alike: whether all runs of the strategy trained the same stages at the same time.
    """

    stages: tuple[str, ...]
    rates: NDArray[np.float64]
    alike: bool


def bands(runs: pd.DataFrame, records: Mapping[str, Run]) -> dict[Key, dict[str, Band]]:
    """Every measured value of each strategy's epochs, by its key in the history, e.g. `val/accuracy`."""
    return {key: _bands(group) for key, group in _curves(runs, records).items()}


def timelines(runs: pd.DataFrame, records: Mapping[str, Run]) -> dict[Key, Timeline]:
    """Which stage trained when, at what rate; nothing where the records say nothing of it."""
    return {
        key: _timeline(group)
        for key, group in _curves(runs, records).items()
        if any(group[0].trainable) and group[0].rates
    }


def efficiency(table: pd.DataFrame, runs: pd.DataFrame, records: Mapping[str, Run]) -> pd.DataFrame:
    """Score against the labels seen, where a study has several budgets of them.

    Args:
        table: as `table.summarise` gives it.
        runs: one row a run.
        records: the runs, by id.

    Returns:
        One row a setting, strategy and budget: source, target (without the budget), backbone, strategy, labels (as in
        the config: labels a class, a share, or `all`; text where these are mixed), mean, low, high, in
        the order of the labels seen; no rows where there is one budget.
    """
    first = runs.drop_duplicates([*SETTING, "strategy"]).set_index([*SETTING, "strategy"])["run_id"]
    rows = []
    for _, row in table.iterrows():
        run = records[first[tuple(row[key] for key in (*SETTING, "strategy"))]]
        labels = run.config.get(_LABELS)
        suffix = f" {_LABELS}={labels}"
        if suffix in row["target"]:
            named = {**row[[*SETTING, "strategy"]], "target": row["target"].replace(suffix, "")}
            rows.append({**named, "labels": labels, **row[["mean", "low", "high"]], "seen": _seen(labels, run)})
    columns = [*SETTING, "strategy", "labels", "mean", "low", "high"]
    found = pd.DataFrame(rows, columns=[*columns, "seen"]).sort_values([*SETTING, "strategy", "seen"], kind="stable")
    if len({type(row["labels"]) for row in rows}) > 1:
        found["labels"] = [str(labels) for labels in found["labels"]]
    return found[columns].reset_index(drop=True)


def _seen(labels: object, run: Run) -> float:
    """How many labels a budget is; where the record does not say: shares, then labels a class, then all."""
    if run.labels_seen is not None:
        return float(run.labels_seen)
    return float(labels) if isinstance(labels, (int, float)) else np.inf


def _curves(runs: pd.DataFrame, records: Mapping[str, Run]) -> dict[Key, list[Curves]]:
    found = {}
    for key, group in runs.groupby([*SETTING, "strategy"], sort=True):
        source, target, backbone, strategy = map(str, key)
        curves = [records[name].curves for name in group["run_id"]]
        if curves := [curve for curve in curves if len(curve.epochs)]:
            found[(source, target, backbone, strategy)] = curves
    return found


def _bands(group: Sequence[Curves]) -> dict[str, Band]:
    keys = dict.fromkeys(key for curves in group for key in curves.values)
    epochs = np.unique(np.concatenate([curves.epochs for curves in group]))
    columns = [np.searchsorted(epochs, curves.epochs) for curves in group]
    return {key: band for key in keys if (band := _band(_matrix(group, key, columns, len(epochs)), epochs)) is not None}


def _matrix(group: Sequence[Curves], key: str, columns: Sequence[NDArray[np.intp]], length: int) -> NDArray[np.float64]:
    """(runs, epochs), NaN where a run measured nothing."""
    matrix = np.full((len(group), length), np.nan)
    for row, curves, column in zip(matrix, group, columns, strict=True):
        if key in curves.values:
            row[column] = curves.values[key]
    return matrix


def _band(matrix: NDArray[np.float64], epochs: NDArray[np.int64]) -> Band | None:
    runs = (~np.isnan(matrix)).sum(0)
    measured = runs > 0
    if not measured.any():
        return None
    matrix, runs = matrix[:, measured], runs[measured]
    mean = np.nansum(matrix, 0) / runs
    spread = np.sqrt(np.nansum((matrix - mean) ** 2, 0) / np.maximum(runs - 1, 1))
    width = stats.t.ppf((1 + CONFIDENCE) / 2, np.maximum(runs - 1, 1)) * spread / np.sqrt(runs)
    width = np.where(runs > 1, width, np.nan)
    return Band(epochs[measured], mean, mean - width, mean + width, runs)


def _timeline(group: Sequence[Curves]) -> Timeline:
    one = group[0]
    stages = [name for name in one.rates if name == "head" or name.startswith("backbone/")]
    names = tuple(dict.fromkeys(name.removeprefix("backbone/") for name in stages))
    rates = np.full((len(names), len(one.epochs)), np.nan)
    for row, name in enumerate(names):
        rate = one.rates["head" if name == "head" else f"backbone/{name}"]
        live = np.array([name in trainable for trainable in one.trainable])
        rates[row, live] = rate[live]
    return Timeline(names, rates, all(other.trainable == one.trainable for other in group))
