"""The comparison: one row a strategy, seeds as blocks."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from transferlab.compare import statistics
from transferlab.compare.settings import SETTING
from transferlab.errors import unknown

# a stand-in for `scratch` is the plainest strategy there is
_BASELINES = ("scratch", "full_finetune", "linear_probe")
_MEANS = ("seconds", "fit_seconds", "samples", "flops", "peak_memory_bytes", "trainable_parameters")


def baseline_of(runs: pd.DataFrame, asked: str | None) -> str:
    """The row that the others are paired with: the one asked for, else scratch, else the plainest there is.

    Raises:
        InputError: no run has the one asked for.
    """
    names = sorted(runs["strategy"].unique())
    if asked is not None:
        if asked not in names:
            raise unknown("strategy among these runs for --baseline", asked, names)
        return asked
    methods = runs.drop_duplicates("strategy").set_index("strategy")["method"]
    return next((str(name) for method in _BASELINES for name in methods.index[methods == method]), names[0])


def summarise(runs: pd.DataFrame, baseline: str, sign: int = 1) -> pd.DataFrame:
    """Compare the strategies within each source, target and backbone.

    Args:
        runs: one row a run, as `records.load` gives them.
        baseline: the strategy that the others are paired with, on the seeds that both have.
        sign: 1 where more is better, -1 where less is.

    Returns:
        One row a strategy, best mean first: setting, strategy, method, seeds, mean, sd, the Student interval (low,
        high), the bootstrap interval (bootstrap_low, bootstrap_high); the paired difference to the baseline with its
        Student interval (difference, difference_low, difference_high) on paired_seeds; p of the permutation and the
        Wilcoxon test, raw and by Holm's correction for the strategies of the setting (p, p_holm, wilcoxon_p,
        wilcoxon_holm); seeds_to_settle; means of the costs.
    """
    rows: list[dict[str, Any]] = []
    for setting, group in runs.groupby(SETTING, sort=False):
        parts = {str(name): part for name, part in group.groupby("strategy")}
        reference = by_seed(parts[baseline]) if baseline in parts else {}
        found = [_row(name, part, {} if name == baseline else reference) for name, part in parts.items()]
        for raw, corrected in (("p", "p_holm"), ("wilcoxon_p", "wilcoxon_holm")):
            for row, value in zip(found, statistics.holm([row[raw] for row in found]), strict=True):
                row[corrected] = value
        rows += [{**dict(zip(SETTING, setting, strict=True)), **row} for row in found]
    table = pd.DataFrame(rows)
    # settings in the order of the runs, their strategies best first
    keys = {"place": table.groupby(SETTING, sort=False).ngroup(), "order": -sign * table["mean"]}
    ordered = table.assign(**keys).sort_values(list(keys), kind="stable")
    return ordered.drop(columns=list(keys)).reset_index(drop=True)


def by_seed(runs: pd.DataFrame) -> dict[Any, float]:
    """The scores of one row, by what pairs them."""
    return dict(zip(runs["seed"], runs["score"].tolist(), strict=True))


def differences(own: Mapping[Any, float], other: Mapping[Any, float]) -> list[float]:
    """Seed by seed, on those that both have."""
    return [score - other[seed] for seed, score in own.items() if seed in other]


def _row(name: str, runs: pd.DataFrame, reference: Mapping[Any, float]) -> dict[str, Any]:
    scores = by_seed(runs)
    own, drawn = statistics.student([*scores.values()]), statistics.bootstrap([*scores.values()])
    return {
        "strategy": name,
        "method": runs["method"].iloc[0],
        "seeds": len(runs),
        "mean": own.mean,
        "sd": runs["score"].std(ddof=1),
        "low": own.low,
        "high": own.high,
        "bootstrap_low": drawn.low,
        "bootstrap_high": drawn.high,
        **_paired(differences(scores, reference)),
        **{key: mean_of(runs[key]) for key in _MEANS if key in runs},
    }


def _paired(found: list[float]) -> dict[str, Any]:
    interval = statistics.student(found) if found else None
    return {
        "difference": interval.mean if interval else None,
        "difference_low": interval.low if interval else None,
        "difference_high": interval.high if interval else None,
        "paired_seeds": len(found),
        "p": statistics.permutation_p(found),
        "wilcoxon_p": statistics.wilcoxon_p(found),
        "seeds_to_settle": statistics.seeds_to_settle(found),
    }


def mean_of(column: pd.Series) -> float | None:
    """The mean of what is known; None where nothing is."""
    known = pd.to_numeric(column).dropna()
    return float(known.mean()) if len(known) else None
