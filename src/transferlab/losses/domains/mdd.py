"""MDD: features on which an adversary cannot agree with the classifier on the source and not on the target."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transferlab.errors import InputError
from transferlab.losses.base import Setting, Step
from transferlab.losses.domains.classifiers import answers, second_head
from transferlab.losses.domains.reading import DomainLoss
from transferlab.losses.domains.reversal import Reversal
from transferlab.losses.features.exact import full_precision
from transferlab.losses.weight import Weight


@full_precision
def mdd(source: Tensor, source_head: Tensor, target: Tensor, target_head: Tensor, margin: float) -> Tensor:
    """Agree with the classifier on the source, disagree on the target: the margin disparity discrepancy, negated.

    Zhang et al. 2019, "Bridging Theory and Algorithm for Domain Adaptation" (ICML). With h the classifier's class and
    sigma the adversary's probability of it,

        gamma * mean(-log sigma_h(x_s)) - mean(log(1 - sigma_h(x_t))).

    The adversary descends on it. Where both domains look alike its best answer is `sigma_h = gamma / (1 + gamma)`, a
    margin of rho = log gamma.

    Args:
        source: the adversary's logits (n, C).
        source_head: the classifier's (n, C), of which the class alone counts.
        target: the adversary's logits (m, C).
        target_head: the classifier's (m, C).
        margin: gamma, above 0.

    Returns:
        A scalar.
    """
    h = target_head.argmax(1, keepdim=True)
    others = target.scatter(1, h, -torch.inf).logsumexp(1) - target.logsumexp(1)
    return margin * F.cross_entropy(source, source_head.argmax(1)) - others.mean()


class MDD(DomainLoss):
    """`mdd` of a second head on features whose gradient is reversed.

    Args:
        weight: of the term beside the source's loss.
        margin: gamma.
        reversal: by which the backbone's share is multiplied, a number or a function of training progress.

    Raises:
        InputError: a margin of 0 or less.
    """

    def __init__(self, weight: Weight, margin: float, reversal: Weight) -> None:
        super().__init__("mdd", weight)
        if margin <= 0:
            raise InputError(f"strategy.losses.mdd.margin={margin}: a number above 0")
        self.margin = margin
        self.reversal = Reversal(reversal)
        self.head: nn.Module

    def prepare(self, setting: Setting) -> None:
        """Build the adversary.

        Raises:
            InputError: the source has no data, or the head gives no logit for each class.
        """
        super().prepare(setting)
        self.head = second_head(setting, self.name)
        self.activations = tuple(getattr(self.head, "reads", ()))

    def forward(self, step: Step) -> Tensor:
        """The adversary's loss on both batches."""
        pairs = [
            (answers(self.head, one, lambda value: self.reversal(value, step.progress)), one.outputs)
            for one in self.sides(step)
        ]
        return mdd(*pairs[0], *pairs[1], self.margin)
