"""At what price: cost, selection, tuning, labels."""

from math import inf

import pandas as pd

from transferlab.compare.comparison import Comparison
from transferlab.compare.metric import Metric
from transferlab.compare.settings import SETTING
from transferlab.compare.sheets.sheet import Sheet, in_order, orders, rules_of, settings, sheet, titled
from transferlab.compare.wording import NONE, bytes_text, count_text, flops_text, number, seconds_text

_COSTS = {
    "seconds": ("seconds", seconds_text),
    "samples": ("samples", count_text),
    "trainable_parameters": ("trainable", count_text),
    "flops": ("FLOPs", flops_text),
    "peak_memory_bytes": ("peak memory", bytes_text),
}
_COST = (
    "Means of a run, pretraining of the source not included. Trainable parameters; FLOPs of training; diagnostics in "
    "seconds, which seconds include. * nothing else scores as well for as little."
)
_SELECTION = (
    "Selected: the score of the epoch that the rule chose; last: of the last epoch; oracle: of the epoch that is "
    "best by the test labels themselves, never a result. Gap: oracle less selected, with its Student interval."
)
_TUNING = (
    "What the best validated of k trials is expected to score (Dodge et al. 2019): with the smallest number of trials "
    "of the setting for all alike, and with each one's own number."
)


def cost(comparison: Comparison) -> list[Sheet]:
    """Seconds, samples, parameters, FLOPs and memory of a run."""
    table = comparison.table.assign(diagnostics=_diagnostics_seconds(comparison))
    found = []
    for setting, group in settings(table):
        rows = [
            (
                row["strategy"],
                *(text(row.get(key)) + (" *" if row.get(f"front_{key}") else "") for key, (_, text) in _COSTS.items()),
                seconds_text(row["diagnostics"]),
            )
            for row in group.to_dict("records")
        ]
        heads = ["strategy", *(head for head, _ in _COSTS.values()), "diagnostics"]
        found += (
            sheet("cost", titled(setting), heads, rows, _COST) if any(set(row[1:]) != {NONE} for row in rows) else []
        )
    return found


def selection(comparison: Comparison) -> list[Sheet]:
    """What the selection rule gave away."""
    metric, order, found = comparison.metric, orders(comparison.table), []
    columns = ("strategy", "rule", f"selected {metric.label}", "last", "oracle", "gap [95 %]")
    for setting, group in settings(comparison.honest):
        rows = [
            (
                row["strategy"],
                row["rule"],
                *(metric.text(row[key]) for key in ("selected", "last", "oracle")),
                metric.text(row["gap"], "+") + metric.interval(row["gap_low"], row["gap_high"], "+"),
            )
            for row in in_order(group, order[setting]).to_dict("records")
        ]
        found += sheet("selection", titled(setting), columns, rows, _SELECTION)
    return found


def tuning(comparison: Comparison) -> list[Sheet]:
    """Expected scores at equal numbers of trials."""
    metric, found = comparison.metric, []
    runs = comparison.study.table
    methods = dict(zip(runs["strategy"], runs["method"], strict=True))
    chosen_by = rules_of(comparison.table.assign(strategy=comparison.table["strategy"].map(methods)))
    for setting, group in settings(comparison.trials):
        equal = int(group["trials"].min())
        columns = ("strategy", "trials", "rule", f"{metric.label}, best of {equal}", "best of its own number")
        rows = [
            (
                str(method),
                str(int(part["trials"].iloc[0])),
                chosen_by[str(method)],
                *(
                    metric.text(part.loc[part["k"] == k, "expected"].iloc[0])
                    for k in (equal, int(part["trials"].iloc[0]))
                ),
            )
            for method, part in group.groupby("method", sort=True)
        ]
        rows.sort(key=lambda row: row[3] == NONE)
        found += sheet("tuning", titled(setting), columns, rows, _TUNING, keep=5)
    return found


def efficiency(comparison: Comparison) -> list[Sheet]:
    """Scores by how many labels were seen."""
    metric, found, chosen_by = comparison.metric, [], rules_of(comparison.table)
    for setting, group in settings(comparison.efficiency):
        labels = sorted(dict.fromkeys(group["labels"]), key=lambda value: number(value) if _is_number(value) else inf)
        rows = []
        for name in dict.fromkeys(group["strategy"]):
            own = group[group["strategy"] == name].drop_duplicates("labels").set_index("labels")
            cells = [own.loc[value] if value in own.index else None for value in labels]
            rows.append((name, chosen_by.get(name, NONE), *(_score(metric, cell) for cell in cells)))
        columns = ["strategy", "rule", *(f"{value} labels" for value in labels)]
        note = f"{metric.label} with its Student interval; labels a class, or as the config says."
        found += sheet("efficiency", titled(setting), columns, rows, note)
    return found


def _score(metric: Metric, row: pd.Series | None) -> str:
    return NONE if row is None else metric.text(row["mean"]) + metric.interval(row["low"], row["high"])


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float))


def _diagnostics_seconds(comparison: Comparison) -> list[float]:
    """Mean seconds of diagnostics, one a row of the table; NaN where no run measured any."""
    study = comparison.study
    spent = study.table["run_id"].map(lambda name: number(study.runs[name].cost.get("diagnostics_seconds")))
    means = spent.groupby([study.table[key] for key in (*SETTING, "strategy")]).mean()
    keys = comparison.table[[*SETTING, "strategy"]].itertuples(index=False, name=None)
    return [float(means.get(key, float("nan"))) for key in keys]
