"""CDAN: features and predictions by which, together, a discriminator cannot tell source from target."""

from collections.abc import Sequence
from math import sqrt
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from transferlab.errors import InputError
from transferlab.losses.base import Setting, Step
from transferlab.losses.domains.classifiers import classes
from transferlab.losses.domains.discriminator import Discriminator, check, length
from transferlab.losses.domains.reading import DomainLoss
from transferlab.losses.domains.reversal import Reversal
from transferlab.losses.features.exact import full_precision
from transferlab.losses.weight import Weight

LARGEST = 4096
"""The longest multilinear map that `randomized=auto` takes as it is; the paper's."""


def multilinear(features: Tensor, predictions: Tensor) -> Tensor:
    """Every feature times every prediction: the map `f (x) g` of Long et al. 2018.

    Args:
        features: f (B, F).
        predictions: g, probabilities (B, C).

    Returns:
        (B, C * F), class by class.
    """
    return torch.einsum("bc,bf->bcf", predictions, features).flatten(1)


def randomized_multilinear(features: Tensor, predictions: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """`(R_f f) * (R_g g) / sqrt(d)`, element by element: inner products are on average those of `multilinear`.

    Long et al. 2018: the entries of both matrices are independent with mean 0 and variance 1, drawn once.

    Args:
        features: f (B, F).
        predictions: g, probabilities (B, C).
        first: R_f (F, d).
        second: R_g (C, d).

    Returns:
        (B, d).
    """
    return (features @ first) * (predictions @ second) / sqrt(first.shape[1])


@full_precision
def certainty(logits: Tensor) -> Tensor:
    """`1 + exp(-H(g))` of the predictions' entropy H in nats: the weight by which CDAN+E has sure samples count more.

    Args:
        logits: (B, C).

    Returns:
        (B,), from 1 + 1 / C to 2.
    """
    entropy = -(logits.softmax(1) * logits.log_softmax(1)).sum(1)
    return 1 + torch.exp(-entropy)


@full_precision
def cdan(source: Tensor, target: Tensor, source_weights: Tensor, target_weights: Tensor) -> Tensor:
    """Tell source from target, each sample by its weight: `-(sum w_s log D / sum w_s + ...) / 2`.

    Long et al. 2018, "Conditional Adversarial Domain Adaptation" (NeurIPS). As in the authors' code the weights sum to
    1 in each domain, and their sum has no gradient.

    Args:
        source: logits of being from the source (n,).
        target: likewise (m,).
        source_weights: above 0 (n,).
        target_weights: above 0 (m,).

    Returns:
        A scalar.
    """
    sides = (F.softplus(-source), source_weights), (F.softplus(target), target_weights)
    means = [(weights * losses).sum() / weights.sum().detach() for losses, weights in sides]
    return (means[0] + means[1]) / 2


class CDAN(DomainLoss):
    """`cdan` of a discriminator on the multilinear map, whose gradient is reversed.

    Args:
        weight: of the term beside the source's loss.
        hidden: units of each hidden layer of the discriminator.
        dropout: share of its hidden units left out in training, in [0, 1).
        randomized: whether the map is the randomized one; `auto`: where the other has more than 4096 numbers.
        dimension: d of the randomized map.
        entropy: whether samples are weighted by `certainty`: CDAN+E.
        detach: whether the predictions get no gradient; else they get the reversed one, as the features do.
        reversal: lambda, a number or a function of training progress.

    Raises:
        InputError: a number that is none, or another word for `randomized`.
    """

    first: Tensor
    second: Tensor

    def __init__(
        self,
        weight: Weight,
        hidden: Sequence[int],
        dropout: float,
        randomized: bool | Literal["auto"],
        dimension: int,
        entropy: bool,
        detach: bool,
        reversal: Weight,
    ) -> None:
        super().__init__("cdan", weight)
        check("cdan", hidden, dropout)
        if randomized not in (True, False, "auto"):
            raise InputError(f"strategy.losses.cdan.randomized={randomized}: auto, true or false")
        if dimension < 1:
            raise InputError(f"strategy.losses.cdan.dimension={dimension}: at least 1")
        self.hidden, self.dropout, self.dimension = hidden, dropout, dimension
        self.randomized, self.entropy, self.detach = randomized, entropy, detach
        self.reversal = Reversal(reversal)
        self.discriminator: Discriminator

    def prepare(self, setting: Setting) -> None:
        """Build the discriminator, and draw the matrices of a randomized map.

        Raises:
            InputError: the source has no data, or the head gives no logit for each class.
        """
        super().prepare(setting)
        features, known = length(setting), classes(setting, self.name)
        if self.randomized == "auto":
            self.randomized = features * known > LARGEST
        if self.randomized:
            self.register_buffer("first", torch.randn(features, self.dimension))
            self.register_buffer("second", torch.randn(known, self.dimension))
        size = self.dimension if self.randomized else features * known
        self.discriminator = Discriminator(size, self.hidden, self.dropout)

    def forward(self, step: Step) -> Tensor:
        """The discriminator's loss on both batches."""
        scores, weights = [], []
        for vectors, observed in zip(*self.compared(step), self.sides(step), strict=True):
            outputs = observed.outputs.detach() if self.detach else self.reversal(observed.outputs, step.progress)
            scores.append(self.discriminator(self._map(self.reversal(vectors, step.progress), outputs.softmax(1))))
            weights.append(certainty(outputs) if self.entropy else torch.ones_like(scores[-1]))
        return cdan(*scores, *weights)

    def _map(self, features: Tensor, predictions: Tensor) -> Tensor:
        if self.randomized:
            return randomized_multilinear(features, predictions, self.first, self.second)
        return multilinear(features, predictions)
