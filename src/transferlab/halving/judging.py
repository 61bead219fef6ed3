"""What a selection rule says of a run so far, read from the rows of its history."""

from collections.abc import Callable, Mapping, Sequence
from math import inf, nan
from typing import Any, TypeAlias

from transferlab import results
from transferlab.errors import InputError
from transferlab.halving.search import LOST, Reached
from transferlab.results import Record
from transferlab.selection.rules import Rule, is_oracle, last, name

Row: TypeAlias = Mapping[str, Any]


def check(rule: Rule) -> None:
    """See that a rule can tell runs apart, and without looking at the test split.

    Raises:
        InputError: it cannot.
    """
    if is_oracle(rule):
        raise InputError("selection=oracle chooses by test labels, so that nothing chosen could be reported by them")
    if name(rule) == last.__name__:
        raise InputError(
            "selection=last says nothing of which run is better: set selection=target_val, or where no labels are held "
            "out, infomax, snd, dev, ..."
        )


def is_behind(record: Record | None, epochs: int) -> bool:
    """Whether a run has fewer epochs behind it, and more to come."""
    return not results.is_over(record) and (record is None or len(record["history"]) < epochs)


def judged(record: Record | None, name: str, rule: Rule, epochs: int, before: int = 0, seconds: float = 0.0) -> Reached:
    """A run at a rung, to which it was trained; one that failed or diverged before it has no score there.

    What became of it behind the rung does not count: asked again later, it is judged as it was.

    Args:
        record: of the run.
        name: of it, for the message.
        rule: of selection.
        epochs: of the rung.
        before: epochs of the rung before.
        seconds: that it took since.

    Raises:
        InputError: it was stopped on the way.
    """
    if record is None:
        return LOST
    rows, whole = record["history"], record["config"]["trainer"]["max_epochs"]
    if record["status"] in ("failed", "diverged") and (len(rows) < epochs or epochs == whole):
        return LOST if record["status"] == "failed" else Reached(nan, nan, min(len(rows), epochs), seconds)
    if is_behind(record, epochs):
        raise InputError(f"{name} was stopped ({record['reason']}); the same command goes on from here")
    return reached(rows, rule, epochs, before, seconds)


def reached(rows: Sequence[Row], rule: Rule, epochs: int, before: int = 0, seconds: float = 0.0) -> Reached:
    """A run at a rung.

    Args:
        rows: of its history; it may have been trained further since.
        rule: of selection.
        epochs: of the rung.
        before: epochs of the rung before.
        seconds: that it took since.
    """
    return Reached.of([score(rule, row) for row in rows[:epochs]], before, seconds)


def score(rule: Callable[[Row], float], row: Row) -> float:
    """Of an epoch; one that is NaN loses against every number."""
    try:
        found = rule(row)
    except TypeError:  # a record has null for NaN
        return -inf
    return found if found == found else -inf
