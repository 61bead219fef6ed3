"""Tasks that tell classes apart in several places of a sample, pixels or words; what reads classes looks at places."""

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from transferlab.backbones.base import Backbone

UNKNOWN = -1
"""The label of a place that has none."""


@runtime_checkable
class Placed(Protocol):
    """A task whose outputs are one class of several in each place."""

    def placed(self, features: Any, outputs: Any) -> tuple[Tensor, Tensor]:
        """Logits of P places of each sample (B, P, C), and which of these there are, (B, P)."""
        ...

    def vectors(self, backbone: Backbone, features: Any, outputs: Any) -> Tensor:
        """Features of the places, (B, P, F)."""
        ...

    def marks(self, y: Tensor, outputs: Any) -> Tensor:
        """Labels of the places, (B, P), `UNKNOWN` where one has none."""
        ...


def drawn(there: Tensor, most: int, seed: int) -> tuple[Tensor, Tensor]:
    """Some places of each sample, the same ones whenever they are drawn from as many.

    Args:
        there: whether there is a place, (B, P).
        most: of a sample, at most.
        seed: of this batch.

    Returns:
        The sample and the place of each, (n,).
    """
    order = torch.rand(there.shape, generator=torch.Generator().manual_seed(seed)).to(there.device)
    found = order.masked_fill(~there, -1).topk(min(most, there.shape[1]), 1)
    kept = found.values >= 0
    return kept.nonzero()[:, 0], found.indices[kept]
