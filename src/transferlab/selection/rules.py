"""The rules: pure functions from an epoch's row of the history to a score; the highest wins, of equals the latest."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from transferlab.directions import sign
from transferlab.errors import InputError

Rule: TypeAlias = Callable[[Mapping[str, Any]], float]


def target_validation(row: Mapping[str, Any], *, metric: str) -> float:
    """The score on held-out target labels; for a loss or an error lower is better.

    Raises:
        InputError: no labels are held out, or no such metric.
    """
    if metric not in row:
        known = ", ".join(key for key in row if key.startswith("val/"))
        why = f"there are: {known}" if known else "no labels are held out: set target.validation, or selection=last"
        raise InputError(f"selection.metric={metric} is not measured ({why})")
    return sign(metric) * float(row[metric])


def last(row: Mapping[str, Any]) -> float:
    """The last epoch, whatever it scores."""
    return float(row["epoch"])


def name(rule: Rule) -> str:
    """The rule's name, for records and tables."""
    return str(getattr(getattr(rule, "func", rule), "__name__", rule))
