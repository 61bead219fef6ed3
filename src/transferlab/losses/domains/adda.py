"""ADDA: a target's own encoder, whose features pass for those of a source encoder that stays as it is."""

import copy
from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from transferlab.errors import InputError
from transferlab.losses.base import Setting, Step
from transferlab.losses.domains.discriminator import Discriminator, check, domain_cross_entropy, length
from transferlab.losses.domains.reading import DomainLoss, mean_vectors
from transferlab.losses.features.exact import full_precision
from transferlab.losses.teacher import Teacher
from transferlab.losses.weight import Weight


@full_precision
def mapping(target: Tensor) -> Tensor:
    """Pass for the source: `-mean log D(x_t)`, the discriminator's loss on the target with its label inverted.

    Tzeng et al. 2017, "Adversarial Discriminative Domain Adaptation" (CVPR): a strong gradient where the discriminator
    is sure of itself, where the reversed one of `log(1 - D)` vanishes.

    Args:
        target: logits of being from the source (m,).

    Returns:
        A scalar.
    """
    return F.softplus(-target).mean()


class ADDA(DomainLoss):
    """The discriminator's loss and the target encoder's, as one sum of which each gets its own gradient.

    `-mean log D(M_s(x_s)) - mean log(1 - D(M_t(x_t)))` on features without a gradient trains D; `mapping` through a D
    without one trains M_t, the backbone. M_s is the backbone as the run starts, always in evaluation mode.

    Args:
        weight: of both terms.
        hidden: units of each hidden layer of the discriminator.
        dropout: share of its hidden units left out in training, in [0, 1).

    Raises:
        InputError: a width or a share that is none.
    """

    def __init__(self, weight: Weight, hidden: Sequence[int], dropout: float) -> None:
        super().__init__("adda", weight)
        check("adda", hidden, dropout)
        self.hidden, self.dropout = hidden, dropout
        self.source: Teacher
        self.discriminator: Discriminator

    def prepare(self, setting: Setting) -> None:
        """Copy the backbone, and build the discriminator.

        Raises:
            InputError: the source has no data, or backbone and head were not trained on them.
        """
        super().prepare(setting)
        if not (setting.from_source and setting.head_from_source):
            raise InputError(
                "loss 'adda' adapts a net that knows the source's task: set strategy.start=source and "
                "strategy.head=source, with a source that is pretrained here"
            )
        self.source = Teacher(copy.deepcopy(setting.backbone), None, None, 1.0)
        self.discriminator = Discriminator(length(setting), self.hidden, self.dropout)

    def forward(self, step: Step) -> Tensor:
        """Both terms."""
        source, target = self.sides(step)
        seen = self.source.observe(source.x, source.y).features
        theirs, ours = mean_vectors(step.backbone, seen), mean_vectors(step.backbone, target.features)
        told = domain_cross_entropy(self.discriminator(theirs), self.discriminator(ours.detach()))
        return 2 * told + mapping(self.discriminator.still(ours))
