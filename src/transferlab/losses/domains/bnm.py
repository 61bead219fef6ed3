"""Batch nuclear-norm maximisation: sure predictions for the target, of many classes."""

import torch
from torch import Tensor

from transferlab.losses.base import Step
from transferlab.losses.domains.predictions import PredictionLoss
from transferlab.losses.features.exact import full_precision
from transferlab.losses.weight import Weight


@full_precision
def bnm(logits: Tensor) -> Tensor:
    """Make predictions sure and of many classes: minus the nuclear norm of a batch's probabilities, `-|P|_* / B`.

    Cui et al. 2020, "Towards Discriminability and Diversity: Batch Nuclear-norm Maximization under Label Insufficient
    Situations" (CVPR). The nuclear norm, the sum of singular values, is large where each row is sure and the
    rows are of many classes.

    Args:
        logits: of the target (B, C).

    Returns:
        A scalar, from `-sqrt(min(B, C) / B)` on; NaN if the logits are not finite.
    """
    probabilities = logits.softmax(1)
    if not probabilities.isfinite().all():  # what diverged has no singular values; the run then ends as such
        return probabilities.sum() * torch.nan
    values: Tensor = torch.linalg.svdvals(probabilities)
    return -values.sum() / len(logits)


class BNM(PredictionLoss):
    """`bnm` of the target's predictions.

    Args:
        weight: lambda of the paper.
    """

    by_place = True

    def __init__(self, weight: Weight) -> None:
        super().__init__("bnm", weight)

    def forward(self, step: Step) -> Tensor:
        """Of the target's batch without labels."""
        return bnm(self.logits(step))
