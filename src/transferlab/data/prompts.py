"""Names of classes as one says them, and the sentences that prompts make of them."""

import re
from collections.abc import Mapping, Sequence

from transferlab.errors import InputError, unknown


def spoken(classes: Sequence[str], names: Mapping[str, str]) -> tuple[str, ...]:
    """Classes as one says them: `127.laptop` is `laptop`, `coffee_mug` is `coffee mug`.

    Args:
        classes: as the data name them.
        names: what is said instead, by class.

    Raises:
        InputError: `names` has a class that the data lack.
    """
    for name in names:
        if name not in classes:
            raise unknown("class", name, classes)
    return tuple(names.get(name) or _words(name) for name in classes)


def sentences(words: Sequence[str], prompts: Sequence[str]) -> list[list[str]]:
    """Every prompt for every class, a list of sentences for each.

    Raises:
        InputError: no prompts, or one that has no place for a name.
    """
    for prompt in prompts or [""]:
        if "{}" not in prompt:
            raise InputError(f"prompts={list(prompts)}: one or more, each with {{}} where a class's name stands")
    return [[prompt.replace("{}", word) for prompt in prompts] for word in words]


def _words(name: str) -> str:
    """Without the number and point that some sets put before a name, which are kept if there is nothing else."""
    plain = re.sub(r"^\d+\.", "", name)
    return re.sub(r"[_\-\s]+", " ", plain).strip() or name
