"""Minimum class confusion: predictions for the target that do not waver between the same classes."""

import torch
from torch import Tensor

from transferlab.losses.base import Step
from transferlab.losses.domains.predictions import PredictionLoss
from transferlab.losses.features.exact import full_precision
from transferlab.losses.outputs.answers import above_zero
from transferlab.losses.weight import Weight


@full_precision
def mcc(logits: Tensor, weights: Tensor, temperature: float) -> Tensor:
    """Confuse classes less: the mean over classes of what a class shares with others in a batch's predictions.

    Jin et al. 2020, "Minimum Class Confusion for Versatile Domain Adaptation" (ECCV). With P the softmax of
    `logits / T` and W the weights of samples, the class correlation `P^T W P` is divided by the sums of its rows, and
    what lies off its diagonal summed and divided by C.

    As the rows of P sum to 1, row j of the correlation sums to `sum_i W_i P_ij`; so row j, divided, is the mean of
    samples' predictions weighted by `W_i P_ij`. These weights are a softmax of logarithms, so that a class
    which no sample is given has a row too.

    Args:
        logits: of the target (B, C).
        weights: W of each sample, above 0 (B,).
        temperature: T, above 0.

    Returns:
        A scalar in [0, 1 - 1 / C].
    """
    correlation = class_correlation(logits, weights, temperature)
    others = ~torch.eye(len(correlation), dtype=torch.bool, device=correlation.device)
    return (correlation * others).sum() / len(correlation)


def class_correlation(logits: Tensor, weights: Tensor, temperature: float) -> Tensor:
    """Of each class the predictions of its samples: `P^T W P`, divided by the sums of its rows, which sum to 1 then.

    Args:
        logits: as for `mcc`.
        weights: as for `mcc`.
        temperature: as for `mcc`.

    Returns:
        (C, C).
    """
    scores = (logits / temperature).log_softmax(1)
    of_class = (scores + weights.log()[:, None]).softmax(0)
    return of_class.T @ scores.exp()


@torch.no_grad()
@full_precision
def certainty(logits: Tensor, temperature: float) -> Tensor:
    """How much each sample counts in `mcc`: `1 + exp(-H)` with H its entropy in nats, scaled to a mean of 1.

    Without gradient, as in the authors' code.

    Args:
        logits: (B, C).
        temperature: T, above 0.

    Returns:
        (B,).
    """
    scores = (logits / temperature).log_softmax(1)
    found = 1 + torch.exp((scores.exp() * scores).sum(1))
    return found / found.mean()


class MCC(PredictionLoss):
    """`mcc` of the target's predictions.

    Args:
        weight: mu of the paper.
        temperature: T.

    Raises:
        InputError: a temperature of 0 or less.
    """

    by_place = True

    def __init__(self, weight: Weight, temperature: float) -> None:
        super().__init__("mcc", weight)
        self.temperature = above_zero("strategy.losses.mcc.temperature", temperature)

    def forward(self, step: Step) -> Tensor:
        """Of the target's batch without labels."""
        logits = self.logits(step)
        return mcc(logits, certainty(logits, self.temperature), self.temperature)
