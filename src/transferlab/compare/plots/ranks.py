"""The critical-difference diagram (Demsar 2006, figure 1)."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from transferlab.compare.comparison import Comparison
from transferlab.compare.plots import canvas
from transferlab.compare.ranks import Ranks
from transferlab.compare.wording import p_text

_STEP = 0.2  # inches between names
_AXIS = 0.75  # inches from the upper edge


def ranks(comparison: Comparison) -> Figure:
    """Mean ranks on a line, the best at the left; a bar joins those that are not surely different.

    Raises:
        ValueError: the comparison has no ranks.
    """
    found = comparison.ranks
    if found is None:
        raise ValueError("there are no ranks to draw")
    names = [str(name) for name in found.mean.index]
    half = (len(names) + 1) // 2
    words = [f"{name} ({rank:.2f})" for name, rank in found.mean.items()]
    sides = [canvas.label_width(part, 2.2) for part in (words[:half], words[half:])]
    folded = [canvas.label(name, sides[at >= half]) for at, name in enumerate(words)]
    bars = 0.12 * len(found.cliques) + 0.15
    steps = [_STEP + 0.13 * name.count("\n") for name in folded]
    high = _AXIS + bars + max(sum(steps[:half]), sum(steps[half:])) + 0.35
    figure = Figure(figsize=(canvas.WIDTH, high))
    on = figure.add_axes((0, 0, 1, 1))
    on.set_axis_off()
    on.set_xlim(0, canvas.WIDTH)
    on.set_ylim(high, 0)
    left, right = sides[0] + 0.3, canvas.WIDTH - sides[1] - 0.3

    def at(rank: float) -> float:
        return left + (rank - 1) / (len(names) - 1) * (right - left)

    _axis(on, found, at(1), at(2) - at(1), len(names))
    for level, clique in enumerate(found.cliques):
        ends = [at(found.mean[clique[0]]) - 0.05, at(found.mean[clique[-1]]) + 0.05]
        on.plot(ends, [_AXIS + 0.12 * (level + 1)] * 2, color="0.2", linewidth=3, label="clique", solid_capstyle="butt")
    looks = canvas.looks(list(comparison.table["strategy"]))
    y = {True: _AXIS + bars, False: _AXIS + bars}
    # from the outside in, so that no line crosses a name
    for number in [*range(half), *reversed(range(half, len(names)))]:
        name, best = names[number], number < half
        x, end, level = at(found.mean[name]), left - 0.1 if best else right + 0.1, y[best] + steps[number] / 2
        on.plot([x, x, end], [_AXIS, level, level], color=looks[name].colour, linewidth=0.9, label=name)
        on.plot([x], [_AXIS], looks[name].marker, color=looks[name].colour, clip_on=False)
        on.text(end + (-0.05 if best else 0.05), level, folded[number], ha="right" if best else "left", va="center")
        y[best] += steps[number]
    said = f"Friedman p {p_text(found.p)}, {found.tasks} tasks"
    on.text(0.15, high - 0.12, f"{said}; a bar joins what is not surely different (Nemenyi, 5 %)", va="center",
            fontsize=canvas.SMALL, color="0.35")  # fmt: skip
    return figure


def _axis(on: Axes, found: Ranks, start: float, unit: float, most: int) -> None:
    """The line of ranks, and above it how long the critical difference is."""
    on.plot([start, start + unit * (most - 1)], [_AXIS] * 2, color="black", linewidth=0.8)
    for rank in np.unique(np.linspace(1, most, min(most, 12)).round()):
        x = start + unit * (rank - 1)
        on.plot([x, x], [_AXIS - 0.05, _AXIS], color="black", linewidth=0.8)
        on.text(x, _AXIS - 0.08, f"{rank:.0f}", ha="center", va="bottom", fontsize=canvas.SMALL)
    long, y = unit * found.critical_difference, 0.35
    on.plot([start, start + long], [y, y], color="black", linewidth=1.5, marker="|", label="critical difference")
    on.text(start, y - 0.07, f"critical difference {found.critical_difference:.2f}", va="bottom", fontsize=canvas.SMALL)
