"""MME: prototypes that move to the target by a larger entropy, and target features that gather at them by a smaller."""

from torch import Tensor

from transferlab.losses.base import Step
from transferlab.losses.domains.classifiers import answers
from transferlab.losses.domains.entropy import entropy
from transferlab.losses.domains.predictions import PredictionLoss
from transferlab.losses.domains.reversal import Reversal
from transferlab.losses.weight import Weight


class MME(PredictionLoss):
    """Minus the `entropy` of the target's predictions, by a head on features whose gradient is reversed.

    Saito et al. 2019, "Semi-supervised Domain Adaptation via Minimax Entropy" (ICCV), equations 4 and 5: the head
    climbs the entropy, the backbone descends it.

    Args:
        weight: lambda of the paper, for both.
        reversal: by which the backbone's share is multiplied, a number or a function of training progress.
    """

    def __init__(self, weight: Weight, reversal: Weight) -> None:
        super().__init__("mme", weight)
        self.reversal = Reversal(reversal)

    def forward(self, step: Step) -> Tensor:
        """Of the target's batch without labels."""
        target = step.domain("unlabeled", self.name)
        return -entropy(answers(step.head, target, lambda value: self.reversal(value, step.progress)))
