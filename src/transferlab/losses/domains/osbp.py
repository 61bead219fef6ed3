"""OSBP: an output for what is unknown, at a given probability of which features and head pull against one another."""

import torch
from torch import Tensor

from transferlab.errors import InputError
from transferlab.losses.base import Setting, Step
from transferlab.losses.domains.classifiers import answers
from transferlab.losses.domains.predictions import PredictionLoss
from transferlab.losses.domains.reversal import Reversal
from transferlab.losses.features.exact import full_precision
from transferlab.losses.weight import Weight

UNKNOWN = "unknown"
"""What the target calls the one class of all samples whose class the source lacks."""


@full_precision
def open_set(logits: Tensor, level: float) -> Tensor:
    """Hold the probability of the unknown at a level: the mean of `-t log p_unknown - (1 - t) log(1 - p_unknown)`.

    Saito et al. 2018, "Open Set Domain Adaptation by Backpropagation" (ECCV), equation 3 with the sign of a loss.
    It is least where `p_unknown = t`; whoever climbs it goes to either side, known or unknown.

    Args:
        logits: of the target, that of the unknown last (B, C + 1).
        level: t, in (0, 1).

    Returns:
        A scalar.
    """
    scores = logits.log_softmax(1)
    return -(level * scores[:, -1] + (1 - level) * torch.logsumexp(scores[:, :-1], 1)).mean()


class OSBP(PredictionLoss):
    """`open_set` of the target's predictions, by a head on features whose gradient is reversed.

    The head descends on it, the backbone climbs it. The head's last output is that of the unknown.

    Args:
        weight: of the term beside the source's loss.
        level: t of the paper.
        reversal: by which the backbone's share is multiplied, a number or a function of training progress.

    Raises:
        InputError: a level that is no probability between 0 and 1.
    """

    def __init__(self, weight: Weight, level: float, reversal: Weight) -> None:
        super().__init__("osbp", weight)
        if not 0 < level < 1:
            raise InputError(f"strategy.losses.osbp.level={level}: a probability in (0, 1)")
        self.level = level
        self.reversal = Reversal(reversal)

    def prepare(self, setting: Setting) -> None:
        """See that the head has an output for the unknown.

        Raises:
            InputError: it has none, or a sample has not one class out of several.
        """
        super().prepare(setting)
        if setting.names[-1:] != (UNKNOWN,):
            raise InputError(
                f"loss 'osbp' takes the head's last output for classes that the source lacks: the target's last class "
                f"must be '{UNKNOWN}'"
            )

    def forward(self, step: Step) -> Tensor:
        """Of the target's batch without labels."""
        target = step.domain("unlabeled", self.name)
        return open_set(answers(step.head, target, lambda value: self.reversal(value, step.progress)), self.level)
