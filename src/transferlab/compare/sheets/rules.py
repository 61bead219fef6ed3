"""What selection rules would have chosen, and how each of them fares."""

from transferlab.compare.comparison import Comparison
from transferlab.compare.rules import ORACLE
from transferlab.compare.sheets.sheet import Sheet, in_order, orders, settings, sheet, titled
from transferlab.compare.wording import NONE, count_text, ratio_text

_QUALITY = (
    "Rank correlation: Spearman's, of the rule's own score and the test score of the epoch that it would have chosen, "
    "over the runs of a setting, then the mean over settings; 1 where both order the runs alike. Gap: oracle less "
    "chosen, the mean over runs. Collapsed: runs whose chosen epoch predicts the target as hardly more than one class, "
    "or far from the source's classes. Overhead of honesty: the share of strategies, each in a setting, that score "
    "worse than source_only under the same rule, in the mean over the seeds that both have."
)


def rules(comparison: Comparison) -> list[Sheet]:
    """Mean scores under each rule, a column each, and the oracle's."""
    metric, order, found = comparison.metric, orders(comparison.table), []
    names = [*(name for name in dict.fromkeys(comparison.rules["rule"]) if name != ORACLE), ORACLE]
    note = (
        f"{metric.label} of the epoch that each selection rule would have chosen, the mean over seeds; oracle: of the "
        "epoch that is best by the test labels themselves, never a result."
    )
    for setting, group in settings(comparison.rules):
        rows = []
        for strategy, part in in_order(group, order[setting]).groupby("strategy", sort=False):
            means = dict(zip(part["rule"], part["mean"], strict=True))
            rows.append((str(strategy), *(metric.text(means.get(name)) for name in names)))
        found += sheet("rules", titled(setting), ["strategy", *names], rows, note)
    return found


def rule_quality(comparison: Comparison) -> list[Sheet]:
    """Each rule against the oracle and source_only, over all settings."""
    metric = comparison.metric
    columns = ["rule", "runs", "rank correlation", f"gap to the oracle, {metric.label}", "collapsed"]
    rows = [
        (
            row["rule"],
            count_text(row["runs"]),
            ratio_text(row["correlation"]),
            metric.text(row["gap"], "+"),
            f"{row['collapsed']:,} of {row['runs_in_all']:,}",
            f"{100 * row['below'] / row['cells']:.1f} % ({row['below']:,} of {row['cells']:,})"
            if row["cells"]
            else NONE,
        )
        for row in comparison.rule_quality.to_dict("records")
    ]
    columns.append("overhead of honesty (below source_only)")
    return sheet("rule_quality", "Selection rules against the oracle", columns, rows, _QUALITY, keep=2)
