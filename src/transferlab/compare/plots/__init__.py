"""The pictures of a comparison, without a display and without pyplot."""

import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transferlab.compare.comparison import Comparison

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["KINDS", "PICTURES", "Picture", "draw", "drawable", "images"]

DOTS_PER_INCH = 150
KINDS: Mapping[str, Mapping[str, Any]] = {
    "png": {"pil_kwargs": {"compress_level": 1}},
    "svg": {"metadata": {"Date": None}},
}
"""The formats of a picture, and how each is saved."""


@dataclass(frozen=True)
class Picture:
    """One kind of picture.

    Attributes:
        title: what it shows, in words for those who cannot see it.
        has: whether a comparison has the numbers for it.
        missing: why not, where it has not.
    """

    title: str
    has: Callable[[Comparison], bool]
    missing: str


def _has_curves(comparison: Comparison) -> bool:
    wanted = ("val/", "train/task_loss")
    return any(key.startswith(wanted) for found in comparison.bands.values() for key in found)


PICTURES: Mapping[str, Picture] = {
    "scores": Picture(
        "Scores: every run a dot, each mean with its 95 % interval, and the paired differences to the baseline",
        lambda comparison: len(comparison.table) > 0,
        "no run has a score",
    ),
    "curves": Picture(
        "Learning curves: mean over seeds with the band of its 95 % interval",
        _has_curves,
        "no record has a history",
    ),
    "timeline": Picture(
        "Freezing timeline: which stage trained when, and at what rate",
        lambda comparison: any(found.rates.size for found in comparison.timelines.values()),
        "no record says what trained when",
    ),
    "cost": Picture(
        "Score against cost: what nothing beats for less lies on the dashed line",
        lambda comparison: any(
            key in comparison.table and comparison.table[key].notna().any() for key in ("seconds", "flops")
        ),
        "no record says what it cost",
    ),
    "efficiency": Picture(
        "Score against the labels seen",
        lambda comparison: len(comparison.efficiency) > 0,
        "all runs saw equally many labels",
    ),
    "ranks": Picture(
        "Mean ranks over the settings with the critical difference",
        lambda comparison: comparison.ranks is not None,
        "fewer than three settings or strategies",
    ),
    "tuning": Picture(
        "Expected score of the best of k tuning trials",
        lambda comparison: bool(comparison.trials["expected"].notna().any()),
        "nothing was tuned, or nothing validated",
    ),
    "oracle": Picture(
        "What the selection rule gave away: oracle less selected",
        lambda comparison: bool(comparison.honest["gap"].notna().any()),
        "no run measured the oracle",
    ),
}
"""Every picture, by the stem of its files."""


def drawable(comparison: Comparison) -> list[str]:
    """The pictures that a comparison has the numbers for."""
    return [name for name, picture in PICTURES.items() if picture.has(comparison)]


def draw(comparison: Comparison, name: str) -> "Figure":
    """Draw one picture.

    Args:
        comparison: that has the numbers for it.
        name: a key of `PICTURES`.
    """
    # Matplotlib takes its time to load, and a comparison that draws nothing need not wait for it
    from matplotlib import font_manager  # noqa: F401

    from transferlab.compare.plots import panels, ranks, rows, timeline
    from transferlab.compare.plots.canvas import house_style

    painters = {
        "scores": rows.scores,
        "curves": panels.curves,
        "timeline": timeline.timeline,
        "cost": panels.cost,
        "efficiency": panels.efficiency,
        "ranks": ranks.ranks,
        "tuning": panels.tuning,
        "oracle": rows.oracle,
    }
    with house_style():
        return painters[name](comparison)


def images(comparison: Comparison, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Draw each picture once, and give it as `<name>.png` and `<name>.svg`.

    Args:
        comparison: that has the numbers for them.
        names: of them, keys of `PICTURES`.
    """
    from transferlab.compare.plots.canvas import house_style

    for name in names:
        figure = draw(comparison, name)
        with house_style(), warnings.catch_warnings():
            # a name may hold letters that the font lacks; they are boxes in the PNG and letters in the SVG
            warnings.filterwarnings("ignore", "Glyph .* missing from")
            for kind, more in KINDS.items():
                file = io.BytesIO()
                figure.savefig(file, format=kind, dpi=DOTS_PER_INCH, **more)
                yield f"{name}.{kind}", file.getvalue()
