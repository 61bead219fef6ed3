"""What trained when, at what rate: a small picture a strategy, from the first stage to the head."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from transferlab.compare.comparison import Comparison
from transferlab.compare.curves import Timeline
from transferlab.compare.plots import canvas

_COLUMNS, _LANE, _GAP = 4, 0.12, 0.15  # a lane a stage, inches
_MAP = "cividis_r"  # darker trains faster, and reads the same without colour


def timeline(comparison: Comparison) -> Figure:
    """The learning rate of each stage in each epoch; where a lane is empty, the stage is frozen."""
    panels = _distinct(comparison)
    rows = _rows(panels)
    left = max(len(stage) for _, found in panels for stage in found.stages) * 0.06 + 0.2
    each = (canvas.WIDTH - left - 0.15) / _COLUMNS - _GAP
    heads = [max(canvas.title(name, each).count("\n") for name, _ in row) * 0.14 + 0.3 for row in rows]
    deep = [_LANE * len(row[0][1].stages) + 0.28 for row in rows]
    high = sum(heads) + sum(deep) + 0.35
    figure = Figure(figsize=(canvas.WIDTH, high))
    on = figure.add_axes((0, 0, 1, 1))
    on.set_axis_off()
    on.set_xlim(0, canvas.WIDTH)
    on.set_ylim(high, 0)
    norm, top = _norm([found for _, found in panels]), 0.0
    for row, head, tall in zip(rows, heads, deep, strict=True):
        for at, (name, found) in enumerate(row):
            _panel(on, found, canvas.title(name, each), left + at * (each + _GAP), top + head, each, norm, not at)
        top += head + tall
    _scale(on, left, top + 0.15, norm)
    return figure


def _distinct(comparison: Comparison) -> list[tuple[str, Timeline]]:
    """Each strategy once where it trains alike in all settings, else once for each of them."""
    by_strategy: dict[str, list[tuple[str, Timeline]]] = {}
    for (source, target, _, strategy), found in comparison.timelines.items():
        if found.stages:
            by_strategy.setdefault(strategy, []).append((f"{source} -> {target}", found))
    panels: list[tuple[str, Timeline]] = []
    for strategy in dict.fromkeys(name for name in comparison.table["strategy"] if name in by_strategy):
        settings = by_strategy[strategy]
        first = settings[0][1]
        alike = all(
            found.stages == first.stages and np.array_equal(found.rates, first.rates, equal_nan=True)
            for _, found in settings
        )
        for setting, found in settings[:1] if alike else settings:
            name = strategy if alike else f"{strategy}, {setting}"
            panels.append((name + ("" if found.alike else " (one run; others differ)"), found))
    return panels[: 2 * canvas.MOST_STRATEGIES]


def _rows(panels: Sequence[tuple[str, Timeline]]) -> list[list[tuple[str, Timeline]]]:
    """Panels of the same stages side by side, so that the first names the stages of its row."""
    rows: list[list[tuple[str, Timeline]]] = []
    for panel in sorted(panels, key=lambda panel: panel[1].stages):
        if not rows or len(rows[-1]) == _COLUMNS or rows[-1][0][1].stages != panel[1].stages:
            rows.append([])
        rows[-1].append(panel)
    return rows


def _norm(found: Sequence[Timeline]) -> Normalize:
    """From the highest rate down to a thousandth of it at most, in equal ratios."""
    rates = np.concatenate([timeline.rates.ravel() for timeline in found])
    rates = rates[rates > 0]
    high = float(rates.max()) if len(rates) else 1.0
    low = max(float(rates.min()) if len(rates) else high, high / 1e3)
    return LogNorm(low if low < high else high / 10, high, clip=True)


def _panel(
    on: Axes, found: Timeline, words: str, left: float, top: float, width: float, norm: Normalize, named: bool
) -> None:
    stages, epochs = found.rates.shape
    bottom = top + _LANE * stages
    on.text(left, top - 0.05, words, fontweight="bold", va="bottom", fontsize=canvas.SMALL)
    _picture(on, np.maximum(found.rates, norm.vmin or 0), (left, left + width, bottom, top), norm).set_label(words)
    for lane in range(stages + 1):
        on.plot(
            [left, left + width], [top + lane * _LANE] * 2, color="0.8" if 0 < lane < stages else "0.4", linewidth=0.5
        )
    for at, stage in enumerate(found.stages if named else ()):
        on.text(left - 0.06, top + (at + 0.5) * _LANE, stage, ha="right", va="center", fontsize=canvas.SMALL)
    for x, ha, number in ((left, "left", 0), (left + width, "right", epochs)):
        on.text(x, bottom + 0.12, f"{'epoch ' if not number else ''}{number}", ha=ha, va="baseline", fontsize=6)


def _picture(
    on: Axes, values: NDArray[np.float64], extent: tuple[float, float, float, float], norm: Normalize
) -> AxesImage:
    image = AxesImage(on, cmap=_MAP, norm=norm, extent=extent, origin="upper", interpolation="none")
    image.set_data(np.ma.masked_invalid(values))
    image.set_clip_path(on.patch)
    on.add_image(image)
    return image


def _scale(on: Axes, left: float, top: float, norm: Normalize) -> None:
    low, high = float(norm.vmin or 0), float(norm.vmax or 1)
    on.text(left, top, "learning rate", va="center", fontsize=canvas.SMALL)
    start, width = left + 1.25, 1.5
    _picture(on, np.geomspace(low, high, 64)[None], (start, start + width, top + 0.06, top - 0.06), norm)
    on.text(start - 0.05, top, f"{low:.1e}", ha="right", va="center", fontsize=canvas.SMALL)
    on.text(start + width + 0.05, top, f"{high:.1e}; an empty lane is frozen", va="center", fontsize=canvas.SMALL)
