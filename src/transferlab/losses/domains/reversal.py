"""Gradient reversal: what comes after descends on a loss, what comes before climbs it, in one backward pass."""

from typing import Any

import torch
from torch import Tensor, nn

from transferlab.losses.weight import Weight
from transferlab.partials import settled


def reverse(value: Tensor, coefficient: float) -> Tensor:
    """The value as it is; its gradient is `-coefficient` times the one that comes back.

    Ganin et al. 2016, "Domain-Adversarial Training of Neural Networks" (JMLR 17), the gradient reversal layer.
    """
    reversed_: Tensor = _Reverse.apply(value, coefficient)
    return reversed_


class Reversal(nn.Module):
    """`reverse` by a coefficient that may follow training.

    Args:
        coefficient: a number, or a function of training progress in [0, 1).
    """

    def __init__(self, coefficient: Weight) -> None:
        super().__init__()
        self.coefficient = settled(coefficient) if callable(coefficient) else coefficient

    def at(self, progress: float) -> float:
        """The coefficient at a share of training in [0, 1)."""
        return self.coefficient(progress) if callable(self.coefficient) else float(self.coefficient)

    def forward(self, value: Tensor, progress: float) -> Tensor:
        """The value, its gradient reversed."""
        return reverse(value, self.at(progress))


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, coefficient: float) -> Tensor:
        ctx.coefficient = coefficient
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.coefficient * gradients[0], None
