"""PADA: adversarial adaptation to a target with some of the source's classes; the others count less and less."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from transferlab.losses.base import Setting, Step, Study
from transferlab.losses.domains.classifiers import check_unmixed, classes
from transferlab.losses.domains.discriminator import Discriminator, check, length
from transferlab.losses.domains.reading import DomainLoss
from transferlab.losses.domains.reversal import Reversal
from transferlab.losses.features.exact import full_precision
from transferlab.losses.weight import Weight
from transferlab.tasks.base import observe

_BATCH = 256


@full_precision
def class_weights(probabilities: Tensor) -> Tensor:
    """How much each class is in the target: the mean prediction over its samples, by its largest entry.

    Cao et al. 2018, "Partial Adversarial Domain Adaptation" (ECCV), equation 4 and the scaling below it.

    Args:
        probabilities: (N, C).

    Returns:
        gamma (C,), the largest 1.
    """
    mean = probabilities.mean(0)
    return mean / mean.max()


@full_precision
def pada(logits: Tensor, y: Tensor, source: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Classify the source and tell it from the target, each source sample by the weight of its class.

    `1 / n sum_i gamma_yi (L_y(x_i) - log D(x_i) / 2) - 1 / m sum_j log(1 - D(x_j)) / 2`: Cao et al. 2018, equation 5,
    with L_y the cross-entropy and each domain's half of the discriminator's loss.

    Args:
        logits: of the source (n, C).
        y: its classes (n,).
        source: the discriminator's logits of being from the source (n,).
        target: likewise (m,).
        weights: gamma (C,).

    Returns:
        A scalar.
    """
    own = weights[y]
    solved = (own * F.cross_entropy(logits, y, reduction="none")).mean()
    return solved + ((own * F.softplus(-source)).mean() + F.softplus(target).mean()) / 2


class PADA(DomainLoss):
    """`pada` with a discriminator on features whose gradient is reversed, in place of the source's own loss.

    The weights are 1 before the first epoch, and taken from the whole target at the start of each.

    Args:
        weight: of the whole.
        hidden: units of each hidden layer of the discriminator.
        dropout: share of its hidden units left out in training, in [0, 1).
        reversal: lambda, a number or a function of training progress.

    Raises:
        InputError: a width or a share that is none.
    """

    restudies = frozenset({"unlabeled"})
    weights: Tensor

    def __init__(self, weight: Weight, hidden: Sequence[int], dropout: float, reversal: Weight) -> None:
        super().__init__("pada", weight)
        check("pada", hidden, dropout)
        self.hidden, self.dropout = hidden, dropout
        self.reversal = Reversal(reversal)
        self.discriminator: Discriminator

    def prepare(self, setting: Setting) -> None:
        """Build the discriminator, and begin with all classes alike.

        Raises:
            InputError: the source has no data, or the head gives no logit for each class.
        """
        super().prepare(setting)
        self.register_buffer("weights", torch.ones(classes(setting, self.name)))
        self.discriminator = Discriminator(length(setting), self.hidden, self.dropout)

    @torch.no_grad()
    def study(self, study: Study) -> None:
        """Take the weights anew."""
        outputs = [observe(study.backbone, study.head, x)[2] for x, _ in study.batches("unlabeled", _BATCH)]
        self.weights.copy_(class_weights(torch.cat(outputs).float().softmax(1)))

    def forward(self, step: Step) -> Tensor:
        """The source's loss and the discriminator's, of both batches.

        Raises:
            InputError: labels that are not one class a sample, as those of mixed images are.
        """
        seen, _ = self.sides(step)
        check_unmixed("pada", seen.y)
        ((source, target),) = self.compared(step)
        mine, theirs = (self.discriminator(self.reversal(side, step.progress)) for side in (source, target))
        return pada(seen.outputs, seen.y, mine, theirs, self.weights)
