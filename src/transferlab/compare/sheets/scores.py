"""Who scored what: summary, scores, differences, verdicts."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from transferlab.compare.comparison import Comparison
from transferlab.compare.metric import Metric
from transferlab.compare.sheets.sheet import Sheet, in_order, orders, rules_of, settings, sheet, titled
from transferlab.compare.verdicts import TARGET_ONLY
from transferlab.compare.wording import NONE, number, p_text, seconds_text, settle_text

AGAINST = f"against {TARGET_ONLY}"
"""The summary's column of verdicts."""
_SCORES = (
    "Mean over seeds with its Student interval, the standard deviation over seeds, and the studentised bootstrap "
    "interval, which needs five seeds."
)
_DIFFERENCES = (
    "Paired by seed: the mean of the per-seed differences with its Student interval, not corrected; p of the "
    "permutation test of the pairs and of Wilcoxon's signed-rank test, Holm's correction over the strategies of the "
    "setting. Seeds to settle: how many a paired t-test at 5 % needs to find such a difference in 80 of 100 studies; "
    "settled where the interval excludes 0."
)
_VERDICTS = (
    "Paired with a twin of the same seeds, budget and data. The Student interval is widened for all verdicts of the "
    "setting (Bonferroni); all of it better than 0: transfers, all worse: harms, else no evidence."
)


def summary(comparison: Comparison) -> list[Sheet]:
    """What matters most, a sheet a setting."""
    metric, baseline, found = comparison.metric, comparison.baseline, []
    columns = ["strategy", "seeds", "rule", f"{metric.label} [95 %]", f"difference to {baseline} [95 %]", "p (Holm)"]
    for setting, group in settings(comparison.table):
        judged, why = _against_scratch(comparison, setting)
        rows = [
            (
                row["strategy"],
                str(row["seeds"]),
                row["rule"],
                mean_text(row, metric),
                difference_text(row, group, baseline, metric),
                p_text(row["p_holm"]),
                judged.get(row["strategy"], NONE),
                seconds_text(row.get("seconds")),
            )
            for row in group.to_dict("records")
        ]
        note = "Paired differences are not corrected for the number of strategies; p and verdicts are."
        note += "".join(f" No verdict on {', '.join(names)} {reason}." for reason, names in why.items())
        found += sheet("summary", titled(setting), [*columns, AGAINST, "seconds"], rows, note, keep=5)
    return found


def scores(comparison: Comparison) -> list[Sheet]:
    """Means with both intervals and the spread over seeds."""
    metric, found = comparison.metric, []
    columns = ("strategy", "seeds", "rule", f"{metric.label} [95 %, Student]", "sd", "[95 %, bootstrap]")
    for setting, group in settings(comparison.table):
        rows = [
            (
                row["strategy"],
                str(row["seeds"]),
                row["rule"],
                mean_text(row, metric),
                metric.text(row["sd"]),
                metric.interval(row["bootstrap_low"], row["bootstrap_high"]).strip() or NONE,
            )
            for row in group.to_dict("records")
        ]
        found += sheet("scores", titled(setting), columns, rows, _SCORES, keep=4)
    return found


def differences(comparison: Comparison) -> list[Sheet]:
    """Paired differences to the baseline, with their tests; nothing where no pair is."""
    metric, baseline, found = comparison.metric, comparison.baseline, []
    columns = ["strategy", "rule", f"{metric.label}, difference to {baseline} [95 %]", "paired seeds", "p", "p (Holm)"]
    columns += ["p (Wilcoxon, Holm)", "seeds to settle"]
    for setting, group in settings(comparison.table):
        if not group["paired_seeds"].any():
            continue
        rows = [
            (
                row["strategy"],
                row["rule"],
                difference_text(row, group, baseline, metric),
                str(row["paired_seeds"]),
                *(p_text(row[key]) for key in ("p", "p_holm", "wilcoxon_holm")),
                settle_text(row["seeds_to_settle"], row["difference_low"], row["difference_high"], row["paired_seeds"]),
            )
            for row in group[group["strategy"] != baseline].to_dict("records")
        ]
        found += sheet("differences", titled(setting), columns, rows, _DIFFERENCES, keep=3)
    return found


def verdicts(comparison: Comparison) -> list[Sheet]:
    """Whether each strategy transfers, against both of its twins."""
    metric, found = comparison.metric, []
    columns = ["strategy", "rule", "against", "verdict", f"{metric.label}, difference [interval]", "interval"]
    columns += ["paired seeds", "why there is none"]
    order, chosen_by = orders(comparison.table), rules_of(comparison.table)
    for setting, group in settings(comparison.verdicts):
        rows = [
            (
                row["strategy"],
                chosen_by.get(row["strategy"], NONE),
                row["twin"],
                _word(row["verdict"]),
                metric.text(row["difference"], "+") + metric.interval(row["low"], row["high"], "+"),
                NONE if pd.isna(row["confidence"]) else f"{100 * row['confidence']:.4g} %",
                str(row["paired_seeds"]),
                _word(row["reason"]),
            )
            for row in in_order(group, order[setting]).to_dict("records")
        ]
        found += sheet("verdicts", titled(setting), columns, rows, _VERDICTS, keep=4)
    return found


def mean_text(row: Mapping[Any, Any], metric: Metric) -> str:
    """A row's mean with its interval."""
    interval = metric.interval(number(row["low"]), number(row["high"]))
    return metric.text(number(row["mean"])) + (interval or " [one seed]")


def difference_text(row: Mapping[Any, Any], group: pd.DataFrame, baseline: str, metric: Metric) -> str:
    """A row's difference to the baseline with its interval, or why there is none.

    Args:
        row: of the table.
        group: all rows of its setting.
        baseline: the row that the others are paired with.
        metric: of the scores.
    """
    if row["strategy"] == baseline:
        return "baseline"
    if not row["paired_seeds"]:
        return "no common seed" if baseline in set(group["strategy"]) else "no baseline here"
    interval = metric.interval(number(row["difference_low"]), number(row["difference_high"]), "+")
    return metric.text(number(row["difference"]), "+") + (interval or " [one seed]")


def _word(cell: object) -> str:
    """A cell's word; pandas fills an empty one with None or NaN."""
    return cell if isinstance(cell, str) and cell else NONE


def _against_scratch(
    comparison: Comparison, setting: tuple[str, str, str]
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Verdicts against scratch by strategy, and the strategies without one by the reason."""
    judged: dict[str, str] = {}
    why: dict[str, list[str]] = {}
    for found, group in settings(comparison.verdicts):
        if found != setting:
            continue
        for row in group.to_dict("records"):
            # the twin is named by its row: scratch, with what its variant differs in
            if row["twin"].partition(" ")[0] == TARGET_ONLY:
                judged[row["strategy"]] = _word(row["verdict"])
                if _word(row["reason"]) != NONE:
                    why.setdefault(f"against {row['twin']}: {row['reason']}", []).append(row["strategy"])
    return judged, why
