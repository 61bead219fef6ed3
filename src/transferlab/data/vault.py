"""The vault: target samples whose labels nothing of a training can reach, because they are not in what it is given."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from transferlab.data.samples import Samples
from transferlab.errors import InputError


@runtime_checkable
class Sealable(Protocol):
    """Samples that hold more of their labels than the tensor `y`: masks in files, texts to be written."""

    def sealed(self) -> Samples:
        """The same inputs, of whose labels nothing is left: `y` is (N, 0).

        Raises:
            InputError: a part of the sample itself is what is learned.
        """
        ...


def sealed(samples: Samples) -> Samples:
    """The same inputs without their labels: `y` is (N, 0).

    Raises:
        InputError: a part of the sample itself is what is learned, as of images with texts.
    """
    return samples.sealed() if isinstance(samples, Sealable) else samples.relabelled(nothing(len(samples)))


def nothing(count: int) -> Tensor:
    """The labels of so many samples whose own are hidden, (N, 0)."""
    return torch.zeros(count, 0)


UNKNOWN = "unknown"
"""The class of the target's samples that are of none of the source's."""


def hidden(y: Tensor) -> bool:
    """Whether labels are those of sealed samples."""
    return y.ndim == 2 and y.shape[1] == 0


def classes(source: Sequence[str], target: Sequence[str], space: str) -> tuple[str, ...]:
    """The classes of the one head that source and target share; they are matched by name.

    Args:
        source: names of its classes.
        target: likewise.
        space: `same`: both have the same, in the target's order; `partial`: the target has some of the source's, whose
            order it is; `open`: those that both have, in the source's order, and then `unknown`, which are the
            target's others.

    Raises:
        InputError: one of them has a class that it should not have, or they have none in common.
    """
    only = {"source": sorted(set(source) - set(target)), "target": sorted(set(target) - set(source))}
    wrong = {"same": only, "partial": {"target": only["target"]}, "open": {}}[space]
    common = [name for name in source if name in set(target)]
    if any(wrong.values()) or not common:
        told = " and ".join(f"the {side} alone has {_few(names)}" for side, names in only.items() if names)
        raise InputError(
            f"source and target share one head here, and their classes are matched by name: {told}; name them alike, "
            "leave out the others, set target.label_space=partial (the source has more) or open (the target has more), "
            "or give the source a head of its own (strategy=partial)"
        )
    return {"same": tuple(target), "partial": tuple(source), "open": (*common, UNKNOWN)}[space]


def numbered(samples: Samples, names: Sequence[str], head: Sequence[str]) -> Samples:
    """Samples whose labels are places of their class among those of a head; what it does not know is `unknown`.

    Args:
        samples: of classes with these names.
        names: of their classes.
        head: names of the head's.

    Raises:
        InputError: they are classes of places in a sample, which are not renumbered.
    """
    if tuple(names) == tuple(head):
        return samples
    _check_whole(samples, "name them alike and in one order")
    places = {name: place for place, name in enumerate(head)}
    moved = torch.tensor([places.get(name, places.get(UNKNOWN, -1)) for name in names])
    return samples.relabelled(moved[samples.y])


def known(samples: Samples, names: Sequence[str], head: Sequence[str]) -> Samples:
    """The samples of classes that a head knows.

    Raises:
        InputError: a sample has classes in several places, some of which the head does not know.
    """
    if set(names) <= set(head):
        return samples
    _check_whole(samples, "leave out the others in the files")
    kept = torch.tensor([name in head for name in names])[samples.y]
    return samples if kept.all() else samples.take(kept.nonzero()[:, 0])


def _check_whole(samples: Samples, remedy: str) -> None:
    """See that a sample has one class."""
    if samples.y.ndim > 1:
        raise InputError(
            "source and target share one head here, labels of places (masks, boxes, tokens) stay as they are read, "
            f"but their classes differ: {remedy}, or give the source a head of its own (strategy=partial)"
        )


def _few(names: Sequence[str], most: int = 5) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
