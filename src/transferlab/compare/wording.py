"""Numbers and names as a paper prints them."""

import re
from collections.abc import Sequence
from math import inf, isnan, nan
from typing import Any

NONE = "-"
# a long name may be broken behind these, but within no number
_BREAKS = re.compile(r"(?<=[ ,=_/])|(?<=\.)(?!\d)")


def number(value: Any) -> float:
    """A cell of a frame as a number, NaN where it holds none."""
    if value is None:
        return nan
    try:
        return float(value)
    except (TypeError, ValueError):
        return nan


def p_text(p: Any) -> str:
    """A p-value to three decimals; what would round to 0 is `< 0.001`."""
    value = number(p)
    if isnan(value):
        return NONE
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def settle_text(seeds: Any, low: Any, high: Any, pairs: Any) -> str:
    """How many seeds would settle a difference.

    Args:
        seeds: the number, infinity beyond what anyone runs, NaN where nothing is known.
        low: of the difference's interval.
        high: likewise; `settled` where 0 lies outside.
        pairs: seeds that were paired; fewer than 3 settle nothing.
    """
    needed = number(seeds)
    if isnan(needed) or number(pairs) < 3:
        return NONE
    if number(low) > 0 or number(high) < 0:
        return "settled"
    return "> 10,000" if needed == inf else f"{needed:,.0f}"


def count_text(value: Any) -> str:
    """A whole number with commas between thousands."""
    found = number(value)
    return NONE if isnan(found) else f"{found:,.0f}"


def seconds_text(value: Any) -> str:
    """Seconds to a tenth; whole ones from 10,000 on."""
    found = number(value)
    return NONE if isnan(found) else f"{found:,.0f}" if found >= 10_000 else f"{found:,.1f}"


def flops_text(value: Any) -> str:
    """Floating-point operations to three digits, e.g. `3.00e12`."""
    found = number(value)
    return NONE if isnan(found) else re.sub(r"e\+?(-?)0*(\d)", r"e\1\2", f"{found:.2e}")


def bytes_text(value: Any) -> str:
    """Bytes in MiB, from 1 GiB on in GiB."""
    found = number(value)
    if isnan(found):
        return NONE
    return f"{found / 2**30:,.2f} GiB" if found >= 2**30 else f"{found / 2**20:,.1f} MiB"


def ratio_text(value: Any, low: Any = None, high: Any = None) -> str:
    """A number without a unit, such as a probability or a rank, with its interval where it has one."""
    found, bounds = number(value), (number(low), number(high))
    if isnan(found):
        return NONE
    return f"{found:.2f}" if any(map(isnan, bounds)) else f"{found:.2f} [{bounds[0]:.2f}, {bounds[1]:.2f}]"


def measure_text(value: Any) -> str:
    """A diagnostic to three digits."""
    found = number(value)
    return NONE if isnan(found) else f"{found:.3g}"


def one_line(text: object) -> str:
    """A name or a reason on one line, whatever it holds; what cannot be printed is a question mark."""
    joined = " ".join(str(text).split())
    return "".join(letter if letter.isprintable() else "?" for letter in joined)


def folded(name: str, width: int) -> list[str]:
    """A name over as many lines as it needs, broken between its parts and within no number that fits a line.

    Args:
        name: of a strategy, say `l2_sp strategy.losses.l2_sp.weight=0.01`.
        width: of a line, in letters.
    """
    lines = [""]
    for part in _BREAKS.split(one_line(name)):
        if lines[-1] and len(lines[-1]) + len(part.rstrip()) > width:
            lines.append("")
        while len(part.rstrip()) > width:
            lines[-1], part = part[:width], part[width:]
            lines.append("")
        lines[-1] += part
    return [line.rstrip() for line in lines if line.strip()] or [NONE]


def listed(names: Sequence[str], most: int = 3) -> str:
    """The first names, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")
