"""What a task learns of the training labels before it builds a head, and whether they are of its kind."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor

from transferlab.data.masks import IGNORED
from transferlab.errors import InputError
from transferlab.tasks.base import Task

ClassWeights: TypeAlias = str | Mapping[str, float] | Sequence[float]
"""`balanced`, `{effective: beta}`, or a number for each class."""


@runtime_checkable
class Learner(Protocol):
    """A task that wants to see the training labels, say for the weights of classes; a task need not be one."""

    def fit(self, y: Tensor, outputs: int) -> None:
        """Look at the training labels.

        Args:
            y: of the training split alone, (N, ...).
            outputs: how many classes or other outputs the data name.

        Raises:
            InputError: they are not of the task's kind.
        """
        ...


def fitted(task: Task, y: Tensor, outputs: int) -> Task:
    """The task after it has seen the training labels; the one given stays as it is.

    Raises:
        InputError: they are not of the task's kind.
    """
    seeing = copy.copy(task)
    if isinstance(seeing, Learner):
        seeing.fit(y, outputs)
    return seeing


def check_classes(y: Tensor, task: str) -> None:
    """See that each sample has one class.

    Raises:
        InputError: numbers, or several labels a sample.
    """
    if y.ndim != 1 or y.is_floating_point():
        raise InputError(
            f"task={task} takes one class a sample, these labels are {described(y)}: choose task=regression, or "
            "task=multilabel for columns of 0 and 1"
        )


def described(y: Tensor) -> str:
    """Kind and shape of labels, for messages."""
    return f"{'numbers' if y.is_floating_point() else 'whole numbers'} of the shape {tuple(y.shape)}"


def class_weights(y: Tensor, classes: int, given: ClassWeights | None) -> Tensor | None:
    """The weight of each class in the loss, (C,), such that the training samples' mean weight is 1; None: all alike.

    With this mean the loss over the whole training set is torch's weighted mean, and no batch's own mixture of classes
    changes its scale.

    Args:
        y: training labels, (N,).
        classes: C.
        given: `balanced`: in inverse proportion to a class's samples, so that all classes count alike;
            `{effective: beta}`: to their `effective_number`; or a number above 0 for each class.

    Raises:
        InputError: it is none of these, or has another number of classes.
    """
    if given is None:
        return None
    counts = torch.bincount(y, minlength=classes)
    if not len(y):
        raise InputError(
            f"task.class_weights={given} counts labels that are trained on, and this run has none: set it to null"
        )
    if given == "balanced":
        weights = 1 / counts.clamp_min(1).float()
    elif isinstance(given, Mapping):
        weights = 1 / effective_number(counts.clamp_min(1), _beta(given, "task.class_weights")).float()
    else:
        weights = _listed(given, classes)
    return weights * counts.sum() / (weights * counts).sum()


def _listed(given: Any, classes: int) -> Tensor:
    """A number above 0 for each class.

    Raises:
        InputError: something else.
    """
    listed = isinstance(given, Sequence) and not isinstance(given, str)
    if not listed or not all(isinstance(weight, (int, float)) for weight in given):
        raise InputError(
            f"task.class_weights={given}: null, balanced, {{effective: beta}}, or a list of one number a class"
        )
    weights = torch.tensor([float(weight) for weight in given])
    if len(weights) != classes or not (weights > 0).all():
        raise InputError(
            f"task.class_weights={list(given)}: {len(weights)} numbers, the data have {classes} classes; give one "
            "number above 0 for each, or balanced"
        )
    return weights


def effective_number(counts: Tensor, beta: float) -> Tensor:
    """How many samples so many are worth where some repeat what others show: `(1 - beta^n) / (1 - beta)`.

    Cui et al. 2019, "Class-Balanced Loss Based on Effective Number of Samples" (CVPR), equation 2 (Proposition 1). It
    is 1 for beta = 0, and tends to n as beta tends to 1: weights by its inverse lie between all alike and balanced.

    Args:
        counts: n, whole numbers of any shape.
        beta: in [0, 1); the paper has 0.9 to 0.9999.

    Returns:
        float64, of the shape of `counts`.
    """
    return (1 - torch.tensor(beta, dtype=torch.float64) ** counts) / (1 - beta)


def _beta(given: Mapping[str, float], key: str) -> float:
    """Of `{effective: beta}`.

    Raises:
        InputError: something else.
    """
    beta = given.get("effective")
    if len(given) != 1 or not isinstance(beta, (int, float)) or not 0 <= beta < 1:
        raise InputError(f"{key}={dict(given)}: balanced, or {{effective: beta}} with beta in [0, 1), e.g. 0.999")
    return float(beta)


def pixel_weights(y: Tensor, classes: int, given: str | Sequence[float] | None) -> Tensor | None:
    """The weight of each class's pixels in the loss, (C,); None: all alike.

    Args:
        y: training masks, (N, H, W), 255 where a pixel is not known.
        classes: C.
        given: `balanced`: in inverse proportion to a class's pixels; or a number of 0 or more for each class.

    Raises:
        InputError: it is neither, or has another number of classes.
    """
    if isinstance(given, str):
        return class_weights(y[y != IGNORED].long(), classes, given)
    if given is None:
        return None
    if len(given) != classes or not (min(given) >= 0 and max(given) > 0):
        raise InputError(
            f"task.class_weights={list(given)}: null, balanced, or a number of 0 or more for each of the {classes} "
            "classes, not all 0"
        )
    return torch.tensor([float(weight) for weight in given])


def positive_weights(y: Tensor, given: str | float | Mapping[str, float] | None) -> Tensor | None:
    """How much a positive label counts beside a negative one, for each output (L,); None: alike.

    Args:
        y: training labels, 0 and 1, NaN where one is missing, (N, L).
        given: `balanced`: negatives by positives, so that both count alike (1 where an output has one of them alone);
            `{effective: beta}`: the same of their `effective_number`; or a number above 0 for all outputs.

    Raises:
        InputError: it is none of these.
    """
    if given is None:
        return None
    positives, negatives = (y == 1).sum(0), (y == 0).sum(0)
    both = (positives > 0) & (negatives > 0)
    if given == "balanced":
        return torch.where(both, negatives / positives.clamp_min(1), 1.0)
    if isinstance(given, Mapping):
        beta = _beta(given, "task.pos_weight")
        ratio = effective_number(negatives, beta) / effective_number(positives.clamp_min(1), beta)
        return torch.where(both, ratio, 1.0).float()
    if not isinstance(given, (int, float)) or given <= 0:
        raise InputError(f"task.pos_weight={given}: null, balanced, {{effective: beta}}, or a number above 0")
    return torch.full((y.shape[1],), float(given))
