"""Central moment discrepancy: give each feature of source and target the same mean and central moments."""

from collections.abc import Sequence

import torch
from torch import Tensor

from transferlab.errors import InputError
from transferlab.losses.base import Step
from transferlab.losses.domains.reading import DomainLoss
from transferlab.losses.features.exact import full_precision
from transferlab.losses.weight import Weight

_KEY = "strategy.losses.cmd"


@full_precision
def cmd(source: Tensor, target: Tensor, moments: int, span: Tensor | float) -> Tensor:
    """Match each feature's mean and central moments: a sum of distances over their orders.

    Zellinger et al. 2017, "Central Moment Discrepancy (CMD) for Domain-Invariant Representation Learning" (ICLR), its
    estimate of the discrepancy,

        |E(x) - E(y)|_2 / |b - a| + sum_{k=2}^{K} |c_k(x) - c_k(y)|_2 / |b - a|^k,

    where `c_k(x) = E((x - E(x))^k)`, feature by feature: a distance of distributions on a bounded
    interval [a, b].

    Args:
        source: vectors (n, F).
        target: vectors (m, F).
        moments: K, at least 1.
        span: |b - a|, above 0.

    Returns:
        A scalar.

    Raises:
        InputError: one sample of a side, whose central moments are 0 whatever it is.
    """
    if min(len(source), len(target)) < 2:
        raise InputError(
            f"loss 'cmd' compares moments, this batch has {len(source)} of the source and {len(target)} of the target: "
            "set batch_size to 2 or more"
        )
    x, y = source / span, target / span
    means = x.mean(0), y.mean(0)
    x, y = x - means[0], y - means[1]
    apart = [means[0] - means[1], *(x.pow(k).mean(0) - y.pow(k).mean(0) for k in range(2, moments + 1))]
    found: Tensor = torch.linalg.vector_norm(torch.stack(apart), dim=1).sum()
    return found


@torch.no_grad()
def range_of(source: Tensor, target: Tensor) -> Tensor:
    """The least and the greatest feature of both sides apart, a scalar.

    Raises:
        InputError: it is 0.
    """
    both = torch.cat([source, target])
    span = both.max() - both.min()
    if span == 0:
        raise InputError(f"{_KEY}.bounds=null takes the range of the batch's features, which are all alike: set bounds")
    return span


class CMD(DomainLoss):
    """`cmd` of features, or of stages and then their sum.

    Args:
        weight: lambda of the paper.
        stages: whose outputs are compared; None: the features alone.
        moments: K.
        bounds: a and b; None: the least and the greatest feature of each batch.

    Raises:
        InputError: fewer than 1 moment, or bounds in the wrong order.
    """

    def __init__(
        self,
        weight: Weight,
        stages: Sequence[str | int] | None,
        moments: int,
        bounds: Sequence[float] | None,
    ) -> None:
        super().__init__("cmd", weight, stages)
        if moments < 1:
            raise InputError(f"{_KEY}.moments={moments}: at least 1")
        if bounds is not None and not (len(bounds) == 2 and bounds[0] < bounds[1]):
            raise InputError(f"{_KEY}.bounds={list(bounds)}: the least and the greatest value of a feature, or null")
        self.moments = moments
        self.span = None if bounds is None else bounds[1] - bounds[0]

    def forward(self, step: Step) -> Tensor:
        """The sum over stages."""
        terms = [
            cmd(*pair, self.moments, range_of(*pair) if self.span is None else self.span)
            for pair in self.compared(step)
        ]
        return torch.stack(terms).sum()
