"""Learning without forgetting: go on giving the source's answers, without the source's data."""

from torch import Tensor, nn
from torch.nn import functional as F

from transferlab.losses.base import Setting, Step, TransferLoss
from transferlab.losses.outputs.answers import above_zero, carried_heads
from transferlab.losses.weight import Weight


def old_answers(present: Tensor, before: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of softened probabilities before and now: `-sum_c p_c log q_c`, the batch's mean.

    Li & Hoiem 2016, "Learning without Forgetting" (ECCV), equations 2 to 4 of the journal version (TPAMI 2018): p and q
    are the probabilities to the power of 1 / T, made to sum to 1, which is the softmax of logits divided by T. At its
    least it is the entropy of p.

    Args:
        present: logits of the old task now (B, C).
        before: logits of the old task from the net as it was (B, C).
        temperature: T, above 0; the paper has 2.

    Returns:
        A scalar.
    """
    return F.cross_entropy(present / temperature, (before / temperature).softmax(1))


class LwF(TransferLoss):
    """`old_answers` on the target's samples, through the source's own head, which goes on training.

    Args:
        weight: lambda_o of the journal version's objective.
        temperature: T.

    Raises:
        InputError: a temperature of 0 or less.
    """

    asks = "each step"

    def __init__(self, weight: Weight, temperature: float) -> None:
        super().__init__(weight)
        self.temperature = above_zero("strategy.losses.lwf.temperature", temperature)
        self.heads = nn.ModuleDict()

    def prepare(self, setting: Setting) -> None:
        """Copy the old heads.

        Raises:
            InputError: there is no teacher, or one without a classifier on features of this backbone's length.
        """
        self.heads.update(carried_heads(setting, "lwf"))

    def forward(self, step: Step) -> Tensor:
        """The loss of the target's batch."""
        features = step.domain("target", "lwf").features
        return step.by_teachers(
            lambda name: old_answers(self.heads[name](features), step.taught[name].outputs, self.temperature)
        )
