"""The configs of many runs, small: what all share once, and of the rest each value once."""

from collections.abc import Sequence
from typing import Any

from transferlab.compare.page.values import plain
from transferlab.compare.runs import Run

_ABSENT = object()


def configs_of(runs: Sequence[Run]) -> dict[str, Any]:
    """The runs' configs, to be put together again run by run.

    Returns:
        `shared`: keys of which all runs have the same value. `varying`: for each other key its distinct `values`, and
        `of`, one number a run that says which of them it has, -1 where it has no such key.
    """
    shared, varying = {}, {}
    for key in sorted({key for run in runs for key in run.config}):
        # 1, 1.0 and True are equal, but not the same value
        found = [(type(value := run.config.get(key, _ABSENT)), value) for run in runs]
        numbers: dict[Any, int] = {}
        of = [-1 if item[1] is _ABSENT else numbers.setdefault(item, len(numbers)) for item in found]
        if len(numbers) == 1 and -1 not in of:
            shared[key] = plain(found[0][1])
        else:
            varying[key] = {"values": [plain(value) for _, value in numbers], "of": of}
    return {"shared": shared, "varying": varying}
