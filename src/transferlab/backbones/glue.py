"""Glue that nets of several families have in common."""

from collections.abc import Mapping

from torch import Tensor, nn

from transferlab.backbones.stages import Glue
from transferlab.errors import unknown
from transferlab.values import Seq, masked_mean


def flatten(net: nn.Module, x: Tensor) -> Tensor:
    """One vector a sample."""
    return x.flatten(1)


def spatial_mean(net: nn.Module, x: Tensor) -> Tensor:
    """(B, C, H, W) to (B, C)."""
    return x.mean((2, 3))


def step_mean(net: nn.Module, x: Seq) -> Tensor:
    """The mean of the real steps."""
    return masked_mean(x)


def class_token(net: nn.Module, x: Tensor) -> Tensor:
    """The first of the tokens (B, N, D)."""
    return x[:, 0]


def chosen_pooling(name: str, known: Mapping[str, Glue]) -> Glue:
    """The glue to one vector a sample that goes by a name.

    Raises:
        InputError: none does.
    """
    if name not in known:
        raise unknown("backbone.pooling", name, known)
    return known[name]
