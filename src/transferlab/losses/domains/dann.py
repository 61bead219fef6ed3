"""DANN: features by which a discriminator cannot tell source from target."""

from collections.abc import Sequence

from torch import Tensor

from transferlab.losses.base import Setting, Step
from transferlab.losses.domains.discriminator import Discriminator, check, domain_cross_entropy, length
from transferlab.losses.domains.reading import DomainLoss
from transferlab.losses.domains.reversal import Reversal
from transferlab.losses.weight import Weight


class DANN(DomainLoss):
    """`domain_cross_entropy` of a discriminator on features whose gradient is reversed.

    Ganin et al. 2016, "Domain-Adversarial Training of Neural Networks" (JMLR 17): the discriminator descends on the
    whole loss, the backbone climbs lambda times it.

    Args:
        weight: of the term beside the source's loss.
        hidden: units of each hidden layer of the discriminator.
        dropout: share of its hidden units left out in training, in [0, 1).
        reversal: lambda, a number or a function of training progress.

    Raises:
        InputError: a width or a share that is none.
    """

    def __init__(self, weight: Weight, hidden: Sequence[int], dropout: float, reversal: Weight) -> None:
        super().__init__("dann", weight)
        check("dann", hidden, dropout)
        self.hidden, self.dropout = hidden, dropout
        self.reversal = Reversal(reversal)
        self.discriminator: Discriminator

    def prepare(self, setting: Setting) -> None:
        """Build the discriminator.

        Raises:
            InputError: the source has no data.
        """
        super().prepare(setting)
        self.discriminator = Discriminator(length(setting), self.hidden, self.dropout)

    def forward(self, step: Step) -> Tensor:
        """The discriminator's loss on both batches."""
        ((source, target),) = self.compared(step)
        scores = [self.discriminator(self.reversal(vectors, step.progress)) for vectors in (source, target)]
        return domain_cross_entropy(*scores)
