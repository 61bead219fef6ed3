"""Pictures with a row a strategy: scores with their differences, and what selection gave away."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from transferlab.compare.comparison import Comparison
from transferlab.compare.plots import canvas
from transferlab.compare.settings import SETTING
from transferlab.compare.sheets.sheet import in_order, orders, settings, titled

_ROW, _HEAD, _FOOT = 0.2, 0.35, 0.5  # inches
# more dots than these are one picture inside the SVG
_MANY_DOTS = 2_000
# inches above and below its row, in turn, where a run's dot lies; on the row itself its mean's interval does
_TURNS = (-0.05, 0.05, -0.035, 0.035, -0.065, 0.065)


def scores(comparison: Comparison) -> Figure:
    """Every run a dot, each mean with its Student interval, the paired differences beside them."""
    runs, names = comparison.study.table, comparison.metric.label
    shown = list(settings(comparison.table))[: canvas.MOST_SETTINGS]
    page = _Page(comparison, [list(group["strategy"]) for _, group in shown], 2)
    for at, (setting, group) in enumerate(shown):
        left, right = page.block(at, f"{titled(setting)}: runs, mean and 95 % interval")
        chosen = runs[(runs[SETTING] == list(setting)).all(axis=1)]
        _dots(left, chosen, page.heights[at], comparison.metric.is_share)
        page.means(left, at, group, "mean", "")
        page.means(right, at, group, "difference", "difference_")
        right.axvline(0, color="0.4", linewidth=0.8)
        left.set_xlabel(names)
        right.set_xlabel(f"difference to {canvas.label(comparison.baseline, 2.0)}, paired by seed")
        if not group["paired_seeds"].any():
            right.text(0.5, 0.5, "nothing to pair", ha="center", va="center", transform=right.transAxes, color="0.35")
            right.set_xticks([0], [" "])
    return page.figure


def oracle(comparison: Comparison) -> Figure:
    """What the selection rule gave away: oracle less selected, each with its interval."""
    measured = comparison.honest[comparison.honest["gap"].notna()]
    shown, order = list(settings(measured))[: canvas.MOST_SETTINGS], orders(comparison.table)
    groups = [in_order(group, order[setting]) for setting, group in shown]
    page = _Page(comparison, [list(group["strategy"]) for group in groups], 1)
    for at, ((setting, _), group) in enumerate(zip(shown, groups, strict=True)):
        (only,) = page.block(at, f"{titled(setting)}: what the rule gave away")
        page.means(only, at, group, "gap", "gap_")
        only.axvline(0, color="0.4", linewidth=0.8)
        only.set_xlabel(f"oracle less selected, {comparison.metric.label}, mean and 95 % interval")
    return page.figure


class _Page:
    """Blocks of rows below each other, one a setting.

    Attributes:
        figure: all of it.
        heights: the height of each strategy's row in its block, the first on top.
    """

    def __init__(self, comparison: Comparison, names: Sequence[Sequence[str]], columns: int) -> None:
        self._scale = 100 if comparison.metric.is_share else 1
        self._looks = canvas.looks(list(comparison.table["strategy"]))
        self._width = canvas.label_width([name for block in names for name in block])
        self._names, self._columns, self.heights = names, columns, [self._rows(block) for block in names]
        self._sizes = [max(rows.values()) + 0.5 * _ROW + 0.1 for rows in self.heights]
        self._tops = np.cumsum([0.0, *(size + _HEAD + _FOOT for size in self._sizes)])
        self.figure = Figure(figsize=(canvas.WIDTH, float(self._tops[-1])))

    def block(self, at: int, words: str) -> list[Axes]:
        """The axes of a setting, side by side, with its strategies' names."""
        top, gap = self._tops[at] + _HEAD, 0.25
        each = (canvas.WIDTH - self._width - 0.2 - gap * (self._columns - 1)) / self._columns
        canvas.text(self.figure, 0.1, top - 0.22, words, fontweight="bold")
        found = []
        for column in range(self._columns):
            made = canvas.axes(self.figure, self._width + 0.05 + column * (each + gap), top, each, self._sizes[at])
            made.set_ylim(self._sizes[at], 0)
            ticks = [canvas.label(name, self._width) for name in self._names[at]] if not column else []
            made.set_yticks(list(self.heights[at].values()) if not column else [], ticks)
            made.tick_params(axis="y", length=0, labelsize=canvas.NORMAL)
            made.grid(axis="x", color="0.92", linewidth=0.6)
            made.set_axisbelow(True)
            found.append(made)
        return found

    def means(self, on: Axes, at: int, group: pd.DataFrame, centre: str, prefix: str) -> None:
        """A marker and its interval in each row that has a number."""
        known = group[group[centre].notna()]
        columns = known[["strategy", centre, f"{prefix}low", f"{prefix}high"]]
        lines, colours = [], []
        for name, value, low, high in columns.itertuples(index=False, name=None):
            y, look = self.heights[at][name], self._looks[name]
            on.plot([float(value) * self._scale], [y], look.marker, color=look.colour, label=name, zorder=3)
            if pd.notna(low) and pd.notna(high):
                lines.append(((float(low) * self._scale, y), (float(high) * self._scale, y)))
                colours.append(look.colour)
        canvas.intervals(on, lines, colours, 1.5)

    def _rows(self, names: Sequence[str]) -> dict[str, float]:
        """The height of each row; a folded name needs more of it."""
        found, y = {}, 0.1
        for name in names:
            tall = max(_ROW, 0.13 * (canvas.label(name, self._width).count("\n") + 1) + 0.05)
            found[name] = y + tall / 2
            y += tall
        return found


def _dots(on: Axes, runs: pd.DataFrame, heights: dict[str, float], is_share: bool) -> None:
    """One dot a run, a little above and below its row in turn, so that fewer lie upon each other."""
    scores: Any = runs["score"].to_numpy(float) * (100 if is_share else 1)
    turns = runs.groupby("strategy").cumcount().to_numpy() % len(_TURNS)
    y = runs["strategy"].map(heights).to_numpy(float) + np.array(_TURNS)[turns]
    on.plot(scores, y, "o", color="0.6", markersize=2.5, markeredgewidth=0, label="runs", zorder=1,
            rasterized=len(scores) > _MANY_DOTS)  # fmt: skip
