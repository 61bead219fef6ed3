"""The rules: pure functions from an epoch's row of the history to a score; the highest wins, of equals the latest."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from transferlab.directions import sign
from transferlab.errors import InputError

if TYPE_CHECKING:
    from transferlab.selection.seen import Seen

Rule: TypeAlias = Callable[[Mapping[str, Any]], float]

_LOST = 1e9  # beyond every rule's scores
COLLAPSED = "rules/collapsed"
"""In an epoch's row 1 where predictions on the target have collapsed, else 0."""


def target_validation(row: Mapping[str, Any], *, metric: str) -> float:
    """The score on held-out target labels; for a loss or an error lower is better.

    Raises:
        InputError: no labels are held out, or no such metric.
    """
    if metric not in row:
        known = ", ".join(key for key in row if key.startswith("val/"))
        why = f"there are: {known}" if known else _NO_LABELS
        raise InputError(f"selection.metric={metric} is not measured ({why})")
    return sign(metric) * float(row[metric])


_NO_LABELS = (
    "no labels are held out: set target.validation, or selection=last; where source data are read, "
    "selection=source_val, iwv, dev, snd, ..."
)


def last(row: Mapping[str, Any]) -> float:
    """The last epoch, whatever it scores."""
    return float(row["epoch"])


def oracle(row: Mapping[str, Any], *, metric: str) -> float:
    """The score on the test labels: never a result, always named so.

    Raises:
        InputError: no such metric.
    """
    if metric not in row:
        known = ", ".join(key for key in row if key.startswith("test/"))
        raise InputError(f"selection.metric={metric} is not measured (there are: {known})")
    return sign(metric) * float(row[metric])


class Unseen:
    """A rule that sees no target label: its score is computed after each epoch and stands in the row.

    An epoch in which predictions have collapsed loses against every one in which they have not.

    Args:
        score: of an epoch, from what the net makes of source and target.
    """

    def __init__(self, score: "Callable[[Seen], float]") -> None:
        self.score = score

    @property
    def name(self) -> str:
        """Of the function that scores."""
        return named(self.score)

    @property
    def key(self) -> str:
        """Of the score in a row."""
        return f"rules/{self.name}"

    def __call__(self, row: Mapping[str, Any]) -> float:
        """The score of an epoch."""
        return float(row[self.key]) - (_LOST if row.get(COLLAPSED) else 0.0)


def named(function: Callable[..., Any]) -> str:
    """A function's name, whatever of it is filled in."""
    return str(getattr(getattr(function, "func", function), "__name__", function))


def name(rule: Rule) -> str:
    """The rule's name, for records and tables."""
    return rule.name if isinstance(rule, Unseen) else named(rule)


def is_oracle(rule: Rule) -> bool:
    """Whether the rule chooses by test labels."""
    return isinstance(rule, partial) and rule.func is oracle
