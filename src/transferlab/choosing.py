"""Stages by name, pattern or position."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from transferlab.errors import InputError, unknown


def matching(chosen: Iterable[str | int], stages: Sequence[str]) -> set[str]:
    """The stages that names, patterns (`layer*`) or positions (0 the first, -1 the last) choose.

    Raises:
        InputError: one of them matches nothing.
    """
    found: set[str] = set()
    for choice in chosen:
        if isinstance(choice, int):
            if not -len(stages) <= choice < len(stages):
                raise InputError(
                    f"there is no stage at position {choice} (there are {len(stages)}: {', '.join(stages)})"
                )
            found.add(stages[choice])
        elif names := {stage for stage in stages if fnmatchcase(stage, choice)}:
            found |= names
        else:
            raise unknown("stage", choice, stages)
    return found
