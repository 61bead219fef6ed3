"""Over all settings and beside the scores: overall, ranks, diagnostics, what is left out."""

from math import isnan
from string import ascii_uppercase

from transferlab.compare.comparison import Comparison
from transferlab.compare.sheets.sheet import Sheet, in_order, orders, rules_of, settings, sheet, titled
from transferlab.compare.wording import NONE, measure_text, number, p_text, ratio_text

_OVERALL = (
    "Over all settings that every strategy has: the interquartile mean of all runs and the chance that a run beats one "
    "of the baseline (Agarwal et al. 2021), with a bootstrap interval stratified by setting and a score "
    "interval (Newcombe 2006); the mean rank, 1 is best."
)
_WHOLE = "whole net"
_FORETOLD = (
    "Weighted Kendall tau (Vigna 2015) of what each score of `transferlab rank` says of sources and backbones with the "
    "mean score of the runs that start from them; 1 is the same order. Distances count as better where they are less."
)


def overall(comparison: Comparison) -> list[Sheet]:
    """Strategies over several settings."""
    metric = comparison.metric
    chosen_by = rules_of(comparison.table)
    columns = ["strategy", "settings", "runs", "rule", f"interquartile mean of {metric.label} [95 %]"]
    columns += [f"chance to beat {comparison.baseline} [95 %]", "mean rank"]
    rows = [
        (
            row["strategy"],
            str(row["settings"]),
            str(row["runs"]),
            chosen_by[row["strategy"]],
            metric.text(row["iqm"]) + metric.interval(row["iqm_low"], row["iqm_high"]),
            ratio_text(row["improvement"], row["improvement_low"], row["improvement_high"]),
            ratio_text(row["rank"]),
        )
        for row in comparison.overall.to_dict("records")
    ]
    return sheet("overall", "Over all settings", columns, rows, _OVERALL, keep=5)


def ranks(comparison: Comparison) -> list[Sheet]:
    """Mean ranks, their test and who cannot be told from whom."""
    found = comparison.ranks
    if found is None:
        return []
    letters = {
        name: "".join(_letter(at) for at, clique in enumerate(found.cliques) if name in clique)
        for name in found.mean.index
    }
    chosen_by = rules_of(comparison.table)
    rows = [
        (str(name), chosen_by[str(name)], ratio_text(rank), letters[name] or NONE) for name, rank in found.mean.items()
    ]
    told = "" if isnan(found.f) else f"; Iman and Davenport: F {found.f:.2f}, p {p_text(found.f_p)}"
    note = (
        f"Over {found.tasks} tasks. Friedman: chi-square {found.chi2:.2f}, p {p_text(found.p)}{told}. "
        "Critical difference of mean ranks at 5 % (Nemenyi; Demsar 2006): "
        f"{found.critical_difference:.2f}. Strategies that share a letter are not surely different."
    )
    return sheet("ranks", "Mean ranks", ("strategy", "rule", "mean rank", "alike"), rows, note, keep=4)


def foretold(comparison: Comparison) -> list[Sheet]:
    """How far scores that were taken before training put candidates in the order that they had after it."""
    found = []
    for target, group in comparison.foretold.groupby("target", sort=False):
        rows = [
            (row["score"], row["strategy"], ratio_text(row["tau"]), str(row["candidates"]))
            for row in group.sort_values(["strategy", "tau"], ascending=[True, False]).to_dict("records")
        ]
        found += sheet("foretold", str(target), ("score", "strategy", "tau", "candidates"), rows, _FORETOLD, keep=4)
    return found


def diagnostics(comparison: Comparison) -> list[Sheet]:
    """What was measured beside the scores, by stage."""
    order, found = orders(comparison.table), []
    note = "Mean over seeds of each run's last measured value, the standard deviation over seeds behind it."
    for setting, group in settings(comparison.diagnostics):
        cells: dict[tuple[str, str], dict[str, str]] = {}
        for row in in_order(group, order[setting]).to_dict("records"):
            what, _, where = str(row["name"]).partition("/")
            text = measure_text(row["mean"])
            text += "" if number(row["sd"]) != number(row["sd"]) else f" ({measure_text(row['sd'])})"
            cells.setdefault((what, row["strategy"]), {})[where or _WHOLE] = text
        stages = list(dict.fromkeys(where for by_stage in cells.values() for where in by_stage))
        kinds = list(dict.fromkeys(what for what, _ in cells))
        ordered = sorted(cells.items(), key=lambda item: kinds.index(item[0][0]))
        rows = [(what, name, *(values.get(stage, NONE) for stage in stages)) for (what, name), values in ordered]
        found += sheet("diagnostics", titled(setting), ["diagnostic", "strategy", *stages], rows, note, keep=2)
    return found


def left_out(comparison: Comparison) -> list[Sheet]:
    """Every record that is not compared."""
    rows = [(item.where, item.kind, item.reason or NONE) for item in comparison.study.left_out]
    return sheet(
        "left_out", "Left out", ("where", "kind", "reason"), rows, "These records were found, but not compared."
    )


def _letter(at: int) -> str:
    return ascii_uppercase[at] if at < len(ascii_uppercase) else f"({at + 1})"
