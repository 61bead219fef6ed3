"""The score that the selection rule chose beside the oracle's, which looked at the test labels to choose."""

from typing import Any

import pandas as pd

from transferlab.compare.settings import SETTING
from transferlab.compare.statistics import student
from transferlab.compare.table import mean_of


def honest(runs: pd.DataFrame, rules: pd.Series) -> pd.DataFrame:
    """What selection costs: the selected epoch, the last one and the oracle's.

    Args:
        runs: one row a run: score, last, oracle.
        rules: the selection rule of each run, on the same index.

    Returns:
        One row a strategy: setting, strategy, rule, selected, last, oracle (means over seeds; None where no run
        measured it), gap (oracle less selected, over the runs that measured both), gap_low, gap_high, gap_runs.
    """
    rows: list[dict[str, Any]] = []
    for key, group in runs.assign(rule=rules).groupby([*SETTING, "strategy"], sort=False):
        gaps = (pd.to_numeric(group["oracle"]) - group["score"]).dropna()
        gap = student(gaps.tolist()) if len(gaps) else None
        rows.append(
            {
                **dict(zip([*SETTING, "strategy"], key, strict=True)),
                "rule": ", ".join(sorted(set(group["rule"].astype(str)))),
                "selected": group["score"].mean(),
                "last": mean_of(group["last"]),
                "oracle": mean_of(group["oracle"]),
                "gap": gap.mean if gap else None,
                "gap_low": gap.low if gap else None,
                "gap_high": gap.high if gap else None,
                "gap_runs": len(gaps),
            }
        )
    return pd.DataFrame(rows)
