"""What the pictures share: figures measured in inches, looks of strategies, their key. No pyplot, no display."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from transferlab.compare.wording import folded

WIDTH = 7.5
"""Inches: of a page of print between its margins."""
MOST_SETTINGS, MOST_STRATEGIES = 12, 12
"""In one picture; the tables have all."""
SMALL, NORMAL = 7.0, 8.0  # points
_LETTER = 0.6 * NORMAL / 72  # inches that a letter takes, on average
_LINE = 0.15  # inches
# Okabe and Ito 2008, without the yellow that paper swallows; told apart under all common colour blindness
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "*")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
_SETTINGS: Any = {
    "font.size": NORMAL,
    "axes.titlesize": NORMAL,
    "axes.labelsize": NORMAL,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.markersize": 4.5,
    # a strategy may be named `$x_1$`
    "text.parse_math": False,
    "text.usetex": False,
    # words stay words, that can be searched and read out
    "svg.fonttype": "none",
    # the same numbers give the same file
    "svg.hashsalt": "transferlab",
}


@dataclass(frozen=True)
class Look:
    """How a strategy is drawn everywhere: by colour, marker and dashes at once, never by colour alone."""

    colour: str
    marker: str
    dashes: Any


def looks(names: Sequence[str]) -> dict[str, Look]:
    """A look for each name; colours repeat after 7, with other markers, and both together after 84."""
    return {
        name: Look(_COLOURS[at % len(_COLOURS)], _MARKERS[at % len(_MARKERS)], _DASHES[at % len(_DASHES)])
        for at, name in enumerate(dict.fromkeys(names))
    }


@contextmanager
def house_style() -> Iterator[None]:
    """Our settings of Matplotlib, and the user's again afterwards."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield


def axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at a place of a figure, in inches from its upper left corner."""
    whole_width, whole_height = figure.get_size_inches()
    place = (left / whole_width, 1 - (top + height) / whole_height, width / whole_width, height / whole_height)
    found = figure.add_axes(place)
    found.tick_params(length=2.5, width=0.6)
    for axis in (found.xaxis, found.yaxis):
        axis.set_major_locator(MaxNLocator(4))
    return found


def text(figure: Figure, left: float, top: float, words: str, **more: Any) -> None:
    """Words at a place of a figure, in inches from its upper left corner."""
    width, height = figure.get_size_inches()
    figure.text(left / width, 1 - top / height, words, **{"va": "top", "fontsize": NORMAL, **more})


def title(words: str, width: float) -> str:
    """A title over as many lines as its width in inches asks for."""
    return "\n".join(folded(words, max(int(width / _LETTER), 12)))


def label_width(names: Sequence[str], most: float = 2.4) -> float:
    """Inches that names take beside an axis, folded where they are longer than the most."""
    return min(max((len(name) for name in names), default=0) * _LETTER + 0.15, most)


def label(name: str, width: float) -> str:
    """A name folded into a width in inches."""
    return title(name, width - 0.1)


def intervals(on: Axes, lines: Sequence[Any], colours: Sequence[str], width: float = 1.2) -> None:
    """Straight lines, ((x, y), (x, y)) each."""
    if lines:
        on.add_collection(LineCollection(list(lines), colors=list(colours), linewidths=width, label="intervals"))


def key(shown: Mapping[str, Look], width: float = WIDTH) -> "Key":
    """The key of strategies, laid out in as many columns as fit.

    Args:
        shown: looks by name.
        width: inches.
    """
    letters = max((len(name) for name in shown), default=1)
    columns = max(1, min(len(shown), int((width - 0.2) / (letters * _LETTER + 0.55))))
    rows: list[list[tuple[str, Look]]] = []
    for at, item in enumerate(shown.items()):
        if at % columns == 0:
            rows.append([])
        rows[-1].append(item)
    return Key(rows, (width - 0.2) / columns)


@dataclass(frozen=True)
class Key:
    """Rows of entries of one width.

    Attributes:
        rows: of names and looks.
        width: inches of an entry.
    """

    rows: Sequence[Sequence[tuple[str, Look]]]
    width: float

    @property
    def height(self) -> float:
        """Inches."""
        return sum(self._lines(row) for row in self.rows) * _LINE + 0.1

    def draw(self, figure: Figure, top: float) -> None:
        """Put it into a figure, `top` inches below its upper edge."""
        wide, high = figure.get_size_inches()
        for row in self.rows:
            for at, (name, look) in enumerate(row):
                left, middle = 0.15 + at * self.width, 1 - (top + 0.06) / high
                figure.add_artist(
                    Line2D(
                        [left / wide, (left + 0.15) / wide, (left + 0.3) / wide],
                        [middle] * 3,
                        color=look.colour,
                        marker=look.marker,
                        linestyle=look.dashes,
                        linewidth=1.2,
                        markevery=[1],
                        transform=figure.transFigure,
                    )
                )
                text(figure, left + 0.37, top, self._folded(name), linespacing=1.1)
            top += self._lines(row) * _LINE

    def _folded(self, name: str) -> str:
        return title(name, self.width - 0.45)

    def _lines(self, row: Sequence[tuple[str, Look]]) -> int:
        return max(self._folded(name).count("\n") + 1 for name, _ in row)
