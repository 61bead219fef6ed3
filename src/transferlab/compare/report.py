"""The comparison as a person reads it: in the terminal, as Markdown and CSV, and as a picture."""

from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from transferlab.compare.table import SETTING
from transferlab.results import write_text


def cells(row: pd.Series, metric: str, baseline: str) -> dict[str, str]:
    """One strategy in words: column -> text. Shares are shown as percent."""
    scale, unit = (100, " %") if "accuracy" in metric else (1, "")
    digits = 1 if scale == 100 else 4

    def number(value: float, sign: str = "") -> str:
        return f"{value * scale:{sign}.{digits}f}"

    difference = "baseline" if row["strategy"] == baseline else "no common seed"
    if pd.notna(row["difference"]):
        difference = number(row["difference"], "+") + _bounds(row, "difference_", number)
    return {
        "strategy": str(row["strategy"]),
        "seeds": str(row["seeds"]),
        f"{metric}{unit} [95 %]": number(row["mean"]) + _bounds(row, "", number),
        f"difference to {baseline} [95 %]": difference,
        "trainable": f"{row['trainable_parameters']:,}",
        "seconds": f"{row['seconds']:.1f}",
    }


def show(table: pd.DataFrame, metric: str, baseline: str, console: Console) -> None:
    """Print one table for each source, target and backbone."""
    for setting, group in table.groupby(SETTING):
        source, target, backbone = setting
        lines = [cells(row, metric, baseline) for _, row in group.iterrows()]
        shown = Table(title=f"{source} -> {target}, {backbone}", title_justify="left")
        for name in lines[0]:
            shown.add_column(name, justify="left" if name == "strategy" else "right")
        for line in lines:
            shown.add_row(*map(escape, line.values()))
        console.print(shown)


def markdown(table: pd.DataFrame, metric: str, baseline: str) -> str:
    """The same tables in Markdown, with a line on how the intervals are computed."""
    parts = []
    for setting, group in table.groupby(SETTING):
        source, target, backbone = setting
        lines = [cells(row, metric, baseline) for _, row in group.iterrows()]
        parts += [f"## {source} -> {target}, {backbone}", ""]
        parts += [f"| {' | '.join(lines[0])} |", f"|{' --- |' * len(lines[0])}"]
        parts += [f"| {' | '.join(line.values())} |" for line in lines]
        parts += [""]
    return "\n".join(["# Comparison", "", *parts, METHOD, ""])


METHOD = (
    "Mean over seeds with its 95 % Student interval. Differences are paired by seed: the mean of the per-seed "
    "differences with their 95 % Student interval, not corrected for the number of strategies. Scores are those of the "
    "epoch that the selection rule chose. Seconds are the mean of a run, source pretraining not included."
)


def plot(table: pd.DataFrame, runs: pd.DataFrame, metric: str, baseline: str, path: Path) -> None:
    """Every run as a dot, each strategy's mean with its interval, and the paired differences beside them."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    settings = list(table.groupby(SETTING))
    height = 1.2 + 0.42 * len(table) + 0.6 * len(settings)
    figure, axes = pyplot.subplots(len(settings), 2, figsize=(10, height), squeeze=False, layout="constrained")
    for (setting, group), (left, right) in zip(settings, axes, strict=True):
        rows = group.iloc[::-1].reset_index(drop=True)
        chosen = runs[(runs[SETTING] == list(setting)).all(axis=1)]
        for height_, row in rows.iterrows():
            scores = chosen.loc[chosen["strategy"] == row["strategy"], "score"]
            left.plot(scores, [height_] * len(scores), "o", color="0.7", markersize=4, zorder=1)
            left.errorbar(row["mean"], height_, xerr=_error(row, "mean", ""), fmt="o", color="#0072b2", capsize=3)
            if pd.notna(row["difference"]):
                error = _error(row, "difference", "difference_")
                right.errorbar(row["difference"], height_, xerr=error, fmt="s", color="#d55e00", capsize=3)
        right.axvline(0, color="0.4", linewidth=1)
        left.set_yticks(range(len(rows)), rows["strategy"])
        right.set_yticks(range(len(rows)), [])
        right.set_ylim(left.get_ylim())
        for axis in (left, right):
            axis.locator_params(axis="x", nbins=6)
        left.set_xlabel(metric)
        right.set_xlabel(f"{metric}, difference to {baseline}")
        left.set_title(f"{setting[0]} -> {setting[1]}, {setting[2]}: mean and 95 % interval", loc="left", fontsize=10)
        right.set_title("paired by seed", loc="left", fontsize=10)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def write(table: pd.DataFrame, runs: pd.DataFrame, metric: str, baseline: str, out: Path) -> dict[str, Path]:
    """Write all forms under `out`; what was written where."""
    out.mkdir(parents=True, exist_ok=True)
    paths = {"table": out / "comparison.md", "numbers": out / "comparison.csv", "plot": out / "comparison.png"}
    write_text(paths["table"], markdown(table, metric, baseline))
    write_text(paths["numbers"], table.to_csv(index=False))
    plot(table, runs, metric, baseline, paths["plot"])
    return paths


def _bounds(row: pd.Series, prefix: str, number: object) -> str:
    low, high = row[f"{prefix}low"], row[f"{prefix}high"]
    if pd.isna(low) or not callable(number):
        return " [one seed]"
    sign = "+" if prefix else ""
    return f" [{number(low, sign)}, {number(high, sign)}]"


def _error(row: pd.Series, centre: str, prefix: str) -> list[list[float]] | None:
    if pd.isna(row[f"{prefix}low"]):
        return None
    return [[row[centre] - row[f"{prefix}low"]], [row[f"{prefix}high"] - row[centre]]]
