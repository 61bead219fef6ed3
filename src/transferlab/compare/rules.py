"""What each selection rule would have chosen, and how far its score can be trusted."""

from collections.abc import Iterator, Mapping
from math import nan
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from transferlab.compare.records import Study
from transferlab.compare.runs import Run
from transferlab.compare.settings import SETTING
from transferlab.compare.verdicts import SOURCE_ONLY, twin_of

ORACLE = "oracle"
"""Stands among the rules as what none of them can reach."""
_RUN = [*SETTING, "strategy", "method", "seed", "run_id", "oracle"]
_NUMBERS = ["rule_score", "score", "oracle"]
_FEWEST_RUNS = 3
_ROUND_OFF = 1e-12


def chosen(study: Study) -> pd.DataFrame:
    """What each rule would have chosen, run by run.

    Returns:
        One row a run and rule: setting, strategy, method, seed, run_id, oracle (the compared metric in the oracle's
        epoch), rule, rule_score (in the rule's own units, higher is better), collapsed, score (the metric in the epoch
        that the rule would have chosen; of the rule that did choose, the run's own). Numbers that are not known or not
        finite are NaN.
    """
    rows: list[dict[str, Any]] = []
    for *values, score in study.table[[*_RUN, "score"]].itertuples(index=False, name=None):
        run = dict(zip(_RUN, values, strict=True))
        record = study.runs[run["run_id"]]
        said = {rule: epoch for rule, epoch in record.rules.items() if rule != ORACLE}
        declared = (record.metrics["selected"] or {}).get("rule")
        rows += [
            {
                **run,
                "rule": rule,
                "rule_score": epoch.get("score"),
                "collapsed": epoch.get("collapsed", False),
                "score": epoch.get(study.metric, score if rule == declared else None),
            }
            for rule, epoch in said.items()
        ]
        rows += [{**run, "rule": ORACLE, "collapsed": False, "score": run["oracle"]}] if said else []
    found = pd.DataFrame(rows, columns=[*_RUN, "rule", "rule_score", "collapsed", "score"])
    numbers = found[_NUMBERS].apply(pd.to_numeric).astype(float)
    return found.assign(**numbers.where(np.isfinite(numbers)))


def means(found: pd.DataFrame) -> pd.DataFrame:
    """The mean scores under each rule.

    Args:
        found: as `chosen` gives it.

    Returns:
        One row a strategy and rule: setting, strategy, rule, mean (over seeds), runs. The oracle is one of the rules.
    """
    tested = found[found["score"].notna()]
    groups = tested.groupby([*SETTING, "strategy", "rule"], sort=False)["score"]
    return groups.agg(mean="mean", runs="size").reset_index()


def quality(found: pd.DataFrame, records: Mapping[str, Run], sign: int = 1) -> pd.DataFrame:
    """Each rule judged by the test scores of what it would have chosen.

    Args:
        found: as `chosen` gives it.
        records: the runs, by id.
        sign: 1 where more is better, -1 where less is.

    Returns:
        One row a rule: rule, runs (with a test score), correlation (Spearman's, of the rule's score and the test
        score, 1 where both order the runs alike; over the runs of a setting, then the mean over settings) of
        `correlated_settings`, gap (oracle less chosen, mean over runs), collapsed (runs whose chosen epoch is flagged)
        of `runs_in_all`, below (strategies in a setting that score worse than source_only under the same rule, in the
        mean over the seeds that both have) of `cells`.
    """
    rows, behind = [], _behind(found, records, sign)
    for rule, group in found[found["rule"] != ORACLE].groupby("rule", sort=False):
        tested = group[group["score"].notna()]
        ordered = [spearman(part["rule_score"], sign * part["score"]) for _, part in tested.groupby(SETTING)]
        known = [value for value in ordered if value == value]
        worse = behind[behind.index.get_level_values("rule") == rule]
        rows.append(
            {
                "rule": rule,
                "runs": len(tested),
                "correlation": float(np.mean(known)) if known else nan,
                "correlated_settings": len(known),
                "gap": (tested["oracle"] - tested["score"]).mean(),
                "collapsed": int(group["collapsed"].sum()),
                "runs_in_all": len(group),
                "below": int(worse.sum()),
                "cells": len(worse),
            }
        )
    columns = ["rule", "runs", "correlation", "correlated_settings", "gap", "collapsed", "runs_in_all"]
    return pd.DataFrame(rows, columns=[*columns, "below", "cells"])


def spearman(one: pd.Series, other: pd.Series) -> float:
    """The rank correlation of the pairs that are known; NaN for fewer than three, or where one side is constant."""
    pairs = pd.concat([one, other], axis=1).dropna().to_numpy()
    if len(pairs) < _FEWEST_RUNS or (pairs == pairs[0]).all(0).any():
        return nan
    return float(stats.spearmanr(pairs[:, 0], pairs[:, 1]).statistic)


def _behind(found: pd.DataFrame, records: Mapping[str, Run], sign: int) -> pd.Series:
    """Whether a strategy scores worse than its source_only twin, by rule, setting and strategy; of none without one."""
    one_each = found.drop_duplicates("run_id").groupby(SETTING, sort=False)
    twins = pd.DataFrame(
        [(*setting, *pair) for setting, group in one_each for pair in _twins(group, records)],
        columns=[*SETTING, "strategy", "twin"],
    )
    sources = found.rename(columns={"strategy": "twin", "score": "source_score"})
    on = [*SETTING, "twin", "rule", "seed"]
    pairs = found.merge(twins, on=[*SETTING, "strategy"]).merge(sources[[*on, "source_score"]], on=on)
    lead = (sign * (pairs["score"] - pairs["source_score"])).dropna()
    return lead.groupby([pairs[key] for key in ("rule", *SETTING, "strategy")]).sum() < -_ROUND_OFF


def _twins(setting: pd.DataFrame, records: Mapping[str, Run]) -> Iterator[tuple[str, str]]:
    """Each strategy of a setting with the row of its source_only twin."""
    parts = [part for _, part in setting.groupby("strategy", sort=False)]
    sources = [part for part in parts if part["method"].iloc[0] == SOURCE_ONLY]
    for part in parts:
        twin, _ = twin_of(part, sources, records)
        if twin is not None and part["method"].iloc[0] != SOURCE_ONLY:
            yield part["strategy"].iloc[0], twin["strategy"].iloc[0]
