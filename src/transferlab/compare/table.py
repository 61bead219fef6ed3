"""The comparison: one row a strategy."""

import pandas as pd

from transferlab.compare.statistics import paired, student
from transferlab.errors import unknown

SETTING = ["source", "target", "backbone"]


def summarise(runs: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Compare the strategies within each source, target and backbone.

    Args:
        runs: one row a run, as `records.load` gives them.
        baseline: the strategy that the others are paired with, on the seeds that both have.

    Returns:
        One row a strategy, best mean first: setting, strategy, seeds, mean, low, high, difference, difference_low,
        difference_high, paired_seeds, trainable_parameters, seconds (mean of a run).

    Raises:
        InputError: no run has the baseline as its strategy.
    """
    names = sorted(runs["strategy"].unique())
    if baseline not in names:
        raise unknown("strategy among these runs for --baseline", baseline, names)
    rows = []
    for setting, group in runs.groupby(SETTING, sort=True):
        by_strategy = {str(name): part.set_index("seed").sort_index() for name, part in group.groupby("strategy")}
        reference = by_strategy.get(baseline)
        found = [_row(name, part, reference, baseline) for name, part in by_strategy.items()]
        rows += [{**dict(zip(SETTING, setting, strict=True)), **row} for row in found]
    return pd.DataFrame(rows).sort_values([*SETTING, "mean"], ascending=[True] * len(SETTING) + [False])


def _row(name: str, runs: pd.DataFrame, reference: pd.DataFrame | None, baseline: str) -> dict[str, object]:
    own = student(runs["score"].tolist())
    row: dict[str, object] = {
        "strategy": name,
        "seeds": len(runs),
        "mean": own.mean,
        "low": own.low,
        "high": own.high,
        "difference": None,
        "difference_low": None,
        "difference_high": None,
        "paired_seeds": 0,
    }
    common = runs.index.intersection(reference.index) if reference is not None else runs.index[:0]
    if reference is not None and name != baseline and len(common):
        difference = paired(runs.loc[common, "score"].tolist(), reference.loc[common, "score"].tolist())
        row |= {
            "difference": difference.mean,
            "difference_low": difference.low,
            "difference_high": difference.high,
            "paired_seeds": len(common),
        }
    return {
        **row,
        "trainable_parameters": int(runs["trainable_parameters"].iloc[0]),
        "seconds": float(runs["seconds"].mean()),
    }
