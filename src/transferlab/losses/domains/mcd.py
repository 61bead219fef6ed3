"""MCD: target features on which two classifiers agree, however much these look for where they do not."""

from torch import Tensor, nn

from transferlab.losses.base import Setting, Step
from transferlab.losses.domains.classifiers import answers, second_head
from transferlab.losses.domains.reading import DomainLoss
from transferlab.losses.domains.reversal import Reversal
from transferlab.losses.features.exact import full_precision
from transferlab.losses.weight import Weight


@full_precision
def discrepancy(first: Tensor, second: Tensor) -> Tensor:
    """How far two classifiers disagree: `1 / C sum_c |p1_c - p2_c|`, the batch's mean.

    Saito et al. 2018, "Maximum Classifier Discrepancy for Unsupervised Domain Adaptation" (CVPR).

    Args:
        first: logits (B, C).
        second: logits (B, C).

    Returns:
        A scalar, from 0 to 2 / C.
    """
    return (first.softmax(1) - second.softmax(1)).abs().mean()


class MCD(DomainLoss):
    """The source's loss of a second head, less `discrepancy` of both heads on the target, in one step.

    Both heads climb the discrepancy. The gradient is reversed before it comes to the backbone, which descends on it.

    Args:
        weight: of the term beside the source's loss of the first head.
        reversal: by which the backbone's share of the discrepancy is multiplied, a number or a function of progress.
    """

    def __init__(self, weight: Weight, reversal: Weight) -> None:
        super().__init__("mcd", weight)
        self.reversal = Reversal(reversal)
        self.head: nn.Module

    def prepare(self, setting: Setting) -> None:
        """Build the second head.

        Raises:
            InputError: the source has no data, or the head gives no logit for each class.
        """
        super().prepare(setting)
        self.head = second_head(setting, self.name)
        self.activations = tuple(getattr(self.head, "reads", ()))

    def forward(self, step: Step) -> Tensor:
        """The loss of both batches."""
        source, target = self.sides(step)
        solved = step.task.loss(answers(self.head, source, lambda value: value), source.y)
        both = [
            answers(head, target, lambda value: self.reversal(value, step.progress)) for head in (step.head, self.head)
        ]
        return solved - discrepancy(*both)
