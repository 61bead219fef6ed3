"""The guard beside the rules: predictions that have collapsed onto one class, or are far from the source's classes."""

from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from transferlab.selection.seen import Seen, check, exact, finite

_ROUND_OFF = 1e-12


@dataclass(frozen=True)
class Collapse:
    """What is wrong with the target's predicted classes.

    Attributes:
        label: the class that is predicted most often.
        share: of the predictions that are this class, in [0, 1].
        reason: a sentence, or part of one.
    """

    label: int
    share: float
    reason: str


def collapse(seen: Seen, *, share: float, excess: float, distance: float | None) -> Collapse | None:
    """Whether the target's predictions have collapsed; several rules, such as entropy and SND, score that highest.

    They have if one class has at least `share` of the predictions, and `excess` more than of the source's labels; or
    if the predicted classes lie further than `distance` from the source's. To `excess` and `distance` comes what N
    draws from the source's classes would differ by in the mean, at most `sqrt((C - 1) / N) / 2`: of a few samples
    nothing is said. A target whose classes truly differ from the source's as much is flagged too. Where no labels of
    the source are seen, as in source-free adaptation, all classes are taken for equally frequent and `distance` is not
    asked.

    Args:
        seen: its `target` and, where there are some, the labels of its `source_train` are read.
        share: of the predictions, in [0, 1].
        excess: of a class's share of the predictions over its share of the source's labels, in [0, 1].
        distance: the total variation between the two, `sum |p - q| / 2`, in [0, 1]: the share of the predictions that
            would have to change their class. None: not asked, as where the target's classes are others.

    Returns:
        None if they have not, or a logit is no number, for which every rule's score is NaN.

    Raises:
        InputError: there are no target inputs.
    """
    check("the guard against collapse", "target inputs", seen.target)
    logits = exact(seen.target.logits)
    if not finite(logits):
        return None
    classes = logits.shape[1]
    predicted, known = _shares(logits.argmax(1), classes), len(seen.source_train.y) > 0
    prior = _shares(seen.source_train.y, classes) if known else torch.full_like(predicted, 1 / classes)
    label = int(predicted.argmax())
    most, expected = float(predicted[label]), float(prior[label])
    apart, chance = float((predicted - prior).abs().sum() / 2), sqrt((classes - 1) / len(logits)) / 2
    told = f"{most:.0%} of the target's predictions are class {label}"
    told += f", as are {expected:.0%} of the source's labels" if known else f" of {classes}"
    if most >= share and most - expected >= excess + chance - _ROUND_OFF:
        return Collapse(label, most, told)
    if known and distance is not None and apart > distance + chance + _ROUND_OFF:
        return Collapse(
            label, most, f"the predicted classes lie {apart:.2f} from the source's (total variation); {told}"
        )
    return None


def _shares(labels: Tensor, classes: int) -> Tensor:
    """Of each class, (C,), in float64."""
    return torch.bincount(labels.cpu().long(), minlength=classes).double() / len(labels)
