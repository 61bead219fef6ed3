"""FixMatch: the class of a target sample as it is, where the net is sure, is the label of its strongly changed self."""

from torch import Tensor

from transferlab.losses.base import Step
from transferlab.losses.domains.predictions import PredictionLoss
from transferlab.losses.domains.pseudo_label import labelled, own_labels, share
from transferlab.losses.features.exact import full_precision
from transferlab.losses.weight import Weight


@full_precision
def fixmatch(weak: Tensor, strong: Tensor, threshold: float) -> Tensor:
    """Answer a strongly changed sample as the sample itself: the mean of `[max q >= tau] H(argmax q, p)` over a batch.

    Sohn et al. 2020, "FixMatch: Simplifying Semi-Supervised Learning with Consistency and Confidence" (NeurIPS),
    equation 4: q the probabilities of the weakly changed sample, which get no gradient, p those of the strongly
    changed one. The mean is over all B samples, so it is truly 0, with a gradient of 0, where none is sure.

    Args:
        weak: logits (B, C).
        strong: logits of the same samples in the same order (B, C).
        threshold: tau, the least probability of a label, in [0, 1].

    Returns:
        A scalar.
    """
    return labelled(strong, *own_labels(weak, threshold))


class FixMatch(PredictionLoss):
    """`fixmatch` of the target's predictions in two views.

    Args:
        weight: lambda_u of the paper.
        threshold: tau.

    Raises:
        InputError: a threshold that is no probability.
    """

    reads = frozenset({"unlabeled", "strong"})

    def __init__(self, weight: Weight, threshold: float) -> None:
        super().__init__("fixmatch", weight)
        self.threshold = share("strategy.losses.fixmatch.threshold", threshold)

    def forward(self, step: Step) -> Tensor:
        """Of both views of the target's batch without labels."""
        return fixmatch(self.logits(step), step.domain("strong", self.name).outputs, self.threshold)
