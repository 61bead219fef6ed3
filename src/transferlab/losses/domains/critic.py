"""A critic that learns by itself: its weights, and all that its optimiser remembers, are buffers."""

from collections.abc import Callable, Sequence
from math import log
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call

from transferlab.losses.domains.discriminator import Discriminator

Scores: TypeAlias = Callable[[Tensor], Tensor]
"""From vectors (B, F) to scores (B,)."""
_FIRST, _SECOND, _LEAST = 0.9, 0.999, 1e-8


class Critic(nn.Module):
    """A `Discriminator` that the run's optimiser cannot move, with Adam of its own.

    Kingma & Ba 2015, "Adam: A Method for Stochastic Optimization" (ICLR), algorithm 1 with its default settings. The
    moments are in the state dict, so a resumed run goes on exactly.

    Args:
        features: length of a vector, F.
        hidden: units of each hidden layer.
    """

    first: Tensor
    second: Tensor
    taken: Tensor

    def __init__(self, features: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.net = Discriminator(features, hidden, 0.0)
        _fix(self.net)
        size = sum(weight.numel() for weight in self.net.buffers())
        self.register_buffer("first", torch.zeros(size))
        self.register_buffer("second", torch.zeros(size))
        self.register_buffer("taken", torch.tensor(0))

    def forward(self, vectors: Tensor) -> Tensor:
        """The scores (B,), with a gradient for the vectors alone."""
        scores: Tensor = self.net(vectors.to(self.first.dtype))
        return scores

    def descend(self, loss: Callable[[Scores], Tensor], lr: float) -> None:
        """Take one step.

        Args:
            loss: of the critic's scores, a scalar.
            lr: Adam's rate.
        """
        weights = dict(self.net.named_buffers())
        with torch.enable_grad():
            free = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
            value = loss(lambda vectors: functional_call(self.net, free, (vectors.to(self.first.dtype),)))
            gradients = torch.autograd.grad(value, list(free.values()))
        step = lr * self._direction(torch.cat([gradient.flatten() for gradient in gradients]))
        parts = torch.split(step, [weight.numel() for weight in weights.values()])
        with torch.no_grad():
            for weight, part in zip(weights.values(), parts, strict=True):
                weight -= part.view_as(weight)

    @torch.no_grad()
    def _direction(self, gradient: Tensor) -> Tensor:
        self.taken += 1
        self.first.lerp_(gradient, 1 - _FIRST)
        self.second.lerp_(gradient.square(), 1 - _SECOND)
        # 1 - beta^t, exact where it is small
        first, second = (-torch.expm1(self.taken * log(beta)) for beta in (_FIRST, _SECOND))
        direction: Tensor = self.first / first / ((self.second / second).sqrt() + _LEAST)
        return direction


def _fix(net: nn.Module) -> None:
    """Make buffers of all parameters, under the same names."""
    for part in net.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            delattr(part, name)
            part.register_buffer(name, parameter.detach())
