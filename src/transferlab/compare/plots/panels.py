"""Pictures with a panel a setting and a line a strategy: curves, cost, labels, tuning."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from transferlab.compare.comparison import Comparison
from transferlab.compare.curves import Band
from transferlab.compare.plots import canvas
from transferlab.compare.sheets.sheet import settings, titled

_HIGH, _HEAD, _FOOT, _LEFT, _GAP = 2.0, 0.35, 0.5, 0.55, 0.65  # inches
_COSTS = {"seconds": "seconds a run", "flops": "FLOPs of a run"}


def history_key(comparison: Comparison) -> str | None:
    """The curve that answers to the metric: that of validation, else the validation loss, else the training loss."""
    known = {key for found in comparison.bands.values() for key in found}
    wanted = (f"val/{comparison.metric.name.partition('/')[2]}", "val/accuracy", "val/loss", "train/task_loss")
    return next((key for key in wanted if key in known), None)


def curves(comparison: Comparison) -> Figure:
    """A learning curve a strategy, with the band of its Student interval."""
    key = history_key(comparison)
    panels: dict[tuple[str, str, str], dict[str, Band]] = {}
    for (source, target, backbone, strategy), found in comparison.bands.items():
        if key in found:
            panels.setdefault((source, target, backbone), {})[strategy] = found[str(key)]
    page = _Page(comparison, [titled(setting) for setting in panels], [name for of in panels.values() for name in of])
    scale, unit = (100, " %") if "accuracy" in str(key) else (1, "")
    for on, found in zip(page.axes, panels.values(), strict=False):
        bands = {name: band for name, band in found.items() if name in page.looks}
        _bands(on, bands, page.looks, scale)
        on.set_xlabel("epoch")
        on.set_ylabel(f"{key}{unit}")
        on.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    return page.figure


def cost(comparison: Comparison) -> Figure:
    """Score against seconds and FLOPs; on the dashed line nothing else scores as well for as little."""
    table, scale = comparison.table, 100 if comparison.metric.is_share else 1
    panels = [
        (setting, group, what)
        for setting, group in list(settings(table))[: canvas.MOST_SETTINGS]
        for what in _COSTS
        if what in group and group[what].notna().any()
    ]
    titles = [titled(setting) for setting, _, _ in panels]
    page = _Page(comparison, titles, list(table["strategy"]), 2 * canvas.MOST_SETTINGS)
    for on, (_, group, what) in zip(page.axes, panels, strict=True):
        known = group[group[what].notna() & group["strategy"].isin(list(page.looks))]
        x, lines, colours = known[what].to_numpy(float), [], []
        for row in known.to_dict("records"):
            look, price = page.looks[row["strategy"]], float(row[what])
            on.plot([price], [scale * row["mean"]], look.marker, color=look.colour, label=row["strategy"], zorder=3)
            if pd.notna(row["low"]):
                lines.append(((price, scale * row["low"]), (price, scale * row["high"])))
                colours.append(look.colour)
        canvas.intervals(on, lines, colours)
        front = known[known[f"front_{what}"].astype(bool)].sort_values(what)
        on.step(front[what].to_numpy(float), scale * front["mean"].to_numpy(float), where="post", color="0.45",
                linewidth=0.9, linestyle=(0, (4, 2)), label="front", zorder=1)  # fmt: skip
        if len(x) and x.min() > 0 and x.max() > 10 * x.min():
            on.set_xscale("log")
            on.xaxis.set_minor_formatter(NullFormatter())
        on.xaxis.set_major_formatter(FuncFormatter(_short))
        on.margins(x=0.08)
        on.set_xlabel(f"{_COSTS[what]} (dashed: nothing is better for less)")
        on.set_ylabel(comparison.metric.label)
    return page.figure


def efficiency(comparison: Comparison) -> Figure:
    """Score against the labels seen."""
    frame, scale = comparison.efficiency, 100 if comparison.metric.is_share else 1
    panels = list(settings(frame))
    page = _Page(comparison, [titled(setting) for setting, _ in panels], list(frame["strategy"]))
    for on, (_, group) in zip(page.axes, panels, strict=False):
        labels = _in_order(list(dict.fromkeys(group["labels"])))
        names = [name for name in page.looks if name in set(group["strategy"])]
        for turn, name in enumerate(names):
            own = group[group["strategy"] == name].drop_duplicates("labels").set_index("labels")
            own = own.loc[[value for value in labels if value in own.index]]
            # side by side, so that intervals do not hide each other
            x = np.array([labels.index(value) for value in own.index]) + 0.15 / len(names) * (
                turn - (len(names) - 1) / 2
            )
            _line(on, x, scale * own["mean"].to_numpy(float), name, page.looks[name])
            low, high = (scale * own[key].to_numpy(float) for key in ("low", "high"))
            known = ~np.isnan(low)
            lines = [((a, b), (a, c)) for a, b, c in zip(x[known], low[known], high[known], strict=True)]
            canvas.intervals(on, lines, [page.looks[name].colour] * len(lines))
        on.set_xticks(range(len(labels)), [str(value) for value in labels])
        on.set_xlabel("target.labels")
        on.set_ylabel(comparison.metric.label)
    return page.figure


def tuning(comparison: Comparison) -> Figure:
    """Expected score of the best validated of k trials (Dodge et al. 2019); dotted: the number that all have."""
    frame, scale = comparison.trials, 100 if comparison.metric.is_share else 1
    panels = list(settings(frame))
    page = _Page(comparison, [titled(setting) for setting, _ in panels], list(frame["method"]))
    for on, (_, group) in zip(page.axes, panels, strict=False):
        for name, part in group[group["method"].isin(list(page.looks))].groupby("method", sort=True):
            _line(
                on,
                part["k"].to_numpy(float),
                scale * part["expected"].to_numpy(float),
                str(name),
                page.looks[str(name)],
            )
        on.axvline(int(group["trials"].min()), color="0.5", linewidth=0.9, linestyle=":", label="equal")
        on.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        on.set_xlabel("tuning trials (dotted: as many as all have)")
        on.set_ylabel(f"{comparison.metric.label}, expected best")
    return page.figure


class _Page:
    """Panels, two beside each other, below them the key and what is not shown.

    Attributes:
        figure: all of it.
        axes: of the panels.
        looks: of the strategies that are shown.
    """

    def __init__(
        self, comparison: Comparison, titles: Sequence[str], names: Sequence[str], most: int = canvas.MOST_SETTINGS
    ) -> None:
        known = canvas.looks([*comparison.table["strategy"], *names])
        wanted = [name for name in known if name in set(names)]
        # the best, and what they are compared with
        kept = sorted(wanted, key=lambda name: name != comparison.baseline)[: canvas.MOST_STRATEGIES]
        self.looks = {name: known[name] for name in wanted if name in kept}
        shown = titles[:most]
        columns = 1 if len(shown) == 1 else 2
        each = (canvas.WIDTH - columns * _LEFT - 0.15 * columns) / columns
        folded = [canvas.title(words, each + _LEFT) for words in shown]
        head = _HEAD + 0.14 * max(words.count("\n") for words in folded)
        deep, entries = head + _HIGH + _FOOT, canvas.key(self.looks)
        rows = -(-len(shown) // columns)
        left_out = _not_shown(len(titles) - len(shown), len(set(names)) - len(self.looks))
        high = rows * deep + entries.height + (0.2 if left_out else 0)
        self.figure = Figure(figsize=(canvas.WIDTH, high))
        self.axes = []
        for at, words in enumerate(folded):
            left, top = (at % columns) * (each + _LEFT + 0.1), (at // columns) * deep
            canvas.text(self.figure, left + 0.1, top + 0.1, words, fontweight="bold")
            made = canvas.axes(self.figure, left + _LEFT, top + head, each, _HIGH)
            made.grid(color="0.92", linewidth=0.6)
            made.set_axisbelow(True)
            self.axes.append(made)
        entries.draw(self.figure, rows * deep)
        if left_out:
            canvas.text(self.figure, 0.15, rows * deep + entries.height, left_out, color="0.35", fontsize=canvas.SMALL)


def _short(value: float, _: int) -> str:
    """A tick without an offset elsewhere: `3e12`, `59.75`."""
    return f"{value:.4g}".replace("e+", "e")


def _not_shown(more_panels: int, strategies: int) -> str:
    said = [f"{more_panels} panels"] * (more_panels > 0) + [f"{strategies} strategies"] * (strategies > 0)
    return f"Not shown: {' and '.join(said)} more; the tables have them." if said else ""


def _bands(on: Axes, bands: Mapping[str, Band], looks: Mapping[str, canvas.Look], scale: int) -> None:
    areas, colours = [], []
    for at, (name, band) in enumerate(bands.items()):
        every = max(1, len(band.epochs) // 6)
        _line(on, band.epochs, scale * band.mean, name, looks[name], (at * every // max(len(bands), 1), every))
        known = ~np.isnan(band.low)
        if known.sum() > 1:
            x, low, high = band.epochs[known], scale * band.low[known], scale * band.high[known]
            areas.append(np.column_stack([np.concatenate([x, x[::-1]]), np.concatenate([low, high[::-1]])]))
            colours.append(looks[name].colour)
    if areas:
        on.add_collection(
            PolyCollection(areas, facecolors=colours, edgecolors="none", alpha=0.15, label="bands", zorder=1)
        )
        on.autoscale_view()


def _line(on: Axes, x: Any, y: Any, name: str, look: canvas.Look, markevery: Any = None) -> None:
    # one point has no line, and needs its marker
    every = markevery if len(x) > 1 else None
    on.plot(x, y, color=look.colour, marker=look.marker, linestyle=look.dashes, linewidth=1.2, markevery=every,
            label=name, zorder=2)  # fmt: skip


def _in_order(labels: list[Any]) -> list[Any]:
    return sorted(labels, key=lambda value: float(value) if isinstance(value, (int, float)) else np.inf)
