"""Entropy minimisation: sure predictions for the target."""

from torch import Tensor

from transferlab.losses.base import Step
from transferlab.losses.domains.predictions import PredictionLoss
from transferlab.losses.features.exact import full_precision
from transferlab.losses.weight import Weight


@full_precision
def entropy(logits: Tensor) -> Tensor:
    """Make predictions sure: the mean entropy of the softmax, `-1 / B sum_i sum_c p_ic log p_ic`.

    Grandvalet & Bengio 2005, "Semi-supervised Learning by Entropy Minimization" (NIPS 17), the term on samples without
    labels.

    Args:
        logits: of the target (B, C).

    Returns:
        A scalar in nats, in [0, log C].
    """
    scores = logits.log_softmax(1)
    return -(scores.exp() * scores).sum(1).mean()


class Entropy(PredictionLoss):
    """`entropy` of the target's predictions.

    Args:
        weight: lambda of the paper.
    """

    by_place = True

    def __init__(self, weight: Weight) -> None:
        super().__init__("entropy", weight)

    def forward(self, step: Step) -> Tensor:
        """Of the target's batch without labels."""
        return entropy(self.logits(step))
