"""Pseudo-labels: the net's own class of a target sample, where it is sure of it, taken for its label."""

from torch import Tensor
from torch.nn import functional as F

from transferlab.errors import InputError
from transferlab.losses.base import Step
from transferlab.losses.domains.predictions import PredictionLoss
from transferlab.losses.features.exact import full_precision
from transferlab.losses.weight import Weight


@full_precision
def pseudo_label(logits: Tensor, threshold: float) -> Tensor:
    """Learn one's own class of a sample: `-1 / B sum_i [max_c p_ic >= threshold] log p_i,k(i)`, k(i) the largest.

    Lee 2013, "Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method for Deep Neural Networks" (ICML
    workshop), equations 14 and 15, which have every sample count: a threshold of 0. The mean is over all B samples, so
    it is truly 0, with a gradient of 0, where none is sure.

    Args:
        logits: of the target (B, C).
        threshold: the least probability of a label, in [0, 1].

    Returns:
        A scalar.
    """
    return labelled(logits, *own_labels(logits, threshold))


def own_labels(logits: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """The most probable class of each sample (B,), and whether its probability reaches a threshold (B,)."""
    sure, labels = logits.detach().softmax(1).max(1)
    return labels, sure >= threshold


def labelled(logits: Tensor, labels: Tensor, counts: Tensor) -> Tensor:
    """The cross-entropy of the samples that count, over the number of all.

    Args:
        logits: (B, C).
        labels: (B,).
        counts: whether a sample does (B,).

    Returns:
        A scalar.
    """
    return (F.cross_entropy(logits, labels, reduction="none") * counts).mean()


def share(key: str, number: float) -> float:
    """A number of the config that must be a share.

    Raises:
        InputError: it is not.
    """
    if not 0 <= number <= 1:
        raise InputError(f"{key}={number}: a number in [0, 1]")
    return float(number)


class PseudoLabel(PredictionLoss):
    """`pseudo_label` of the target's predictions.

    Args:
        weight: alpha of the paper.
        threshold: the least probability of a label.

    Raises:
        InputError: a threshold that is no probability.
    """

    by_place = True

    def __init__(self, weight: Weight, threshold: float) -> None:
        super().__init__("pseudo_label", weight)
        self.threshold = share("strategy.losses.pseudo_label.threshold", threshold)

    def forward(self, step: Step) -> Tensor:
        """Of the target's batch without labels."""
        return pseudo_label(self.logits(step), self.threshold)
