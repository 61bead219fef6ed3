"""What the rules that do without target labels look at, and how they read it."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from transferlab.errors import InputError
from transferlab.seeding import derive


@dataclass(frozen=True)
class Passed:
    """What a net makes of N samples.

    Attributes:
        features: the backbone's output, (N, F).
        logits: the head's output, (N, C).
    """

    features: Tensor
    logits: Tensor


@dataclass(frozen=True)
class Labelled(Passed):
    """The same, of samples whose labels are known.

    Attributes:
        y: class indices, (N,).
    """

    y: Tensor


@dataclass(frozen=True)
class Seen:
    """What a rule may look at: labelled source samples and target inputs; target labels are not among it.

    Attributes:
        source_train: a sample of the source's training split.
        source_val: held out of the source.
        target: target inputs, of training or held out, without labels.
    """

    source_train: Labelled
    source_val: Labelled
    target: Passed


def check(reader: str, what: str, passed: Passed) -> None:
    """See that some samples can be read.

    Args:
        reader: who reads them, for messages: `selection=snd`.
        what: they are, for messages: `target inputs`.
        passed: of them.

    Raises:
        InputError: there are none, fewer than two outputs, or labels that are no index of an output.
    """
    if len(passed.logits) == 0:
        raise InputError(f"{reader} reads {what}, and there are none: provide some, or choose selection=last")
    classes = passed.logits.shape[-1]
    if passed.logits.ndim != 2 or classes < 2:
        raise InputError(
            f"{reader} reads one class a sample, (N, C) logits of two classes or more, and those of {what} are "
            f"{tuple(passed.logits.shape)}: choose task=classification, or selection=last"
        )
    if isinstance(passed, Labelled) and not 0 <= int(passed.y.min()) <= int(passed.y.max()) < classes:
        raise InputError(
            f"{reader} reads {what} with labels from {int(passed.y.min())} to {int(passed.y.max())}, and the "
            f"head knows the classes 0 to {classes - 1}: source and target must have the same classes"
        )


def exact(tensor: Tensor) -> Tensor:
    """In float64 on the CPU."""
    return tensor.detach().cpu().double()


def finite(*tensors: Tensor) -> bool:
    """Whether all are numbers; else the score is NaN, which loses against every number."""
    return all(bool(tensor.isfinite().all()) for tensor in tensors)


def drawn(number: int, samples: int) -> Tensor:
    """The indices of so many of `number` samples, in order; the same ones in every epoch and every run.

    Raises:
        InputError: fewer than two, of which nothing can be compared.
    """
    if samples < 2:
        raise InputError(f"selection.score.samples={samples}: at least 2")
    if number <= samples:
        return torch.arange(number)
    order = np.random.default_rng(derive(0, "selection rule")).permutation(number)
    return torch.from_numpy(np.sort(order[:samples]))
