"""The vault: target samples whose labels nothing of a training can reach, because they are not in what it is given."""

from collections.abc import Sequence

import torch
from torch import Tensor

from transferlab.data.samples import Samples
from transferlab.errors import InputError


def sealed(samples: Samples) -> Samples:
    """The same inputs without their labels: `y` is (N, 0).

    Raises:
        InputError: the labels are of places in a sample, and cannot be parted from it.
    """
    y = samples.y
    if y.ndim > 2 or (y.ndim == 2 and not y.is_floating_point()):
        raise InputError(
            "target.labels hides labels that a sample has as a whole, classes or numbers, and these are of its places "
            "(masks, boxes, tokens): set target.labels=all"
        )
    return samples.relabelled(torch.zeros(len(samples), 0))


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
    """
    if tuple(names) == tuple(head):
        return samples
    places = {name: place for place, name in enumerate(head)}
    moved = torch.tensor([places.get(name, places.get(UNKNOWN, -1)) for name in names])
    return samples.relabelled(moved[samples.y])


def known(samples: Samples, names: Sequence[str], head: Sequence[str]) -> Samples:
    """The samples of classes that a head knows."""
    kept = torch.tensor([name in head for name in names])[samples.y]
    return samples if kept.all() else samples.take(kept.nonzero()[:, 0])


def _few(names: Sequence[str], most: int = 5) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
