"""A net of torchvision by its name, for images of any number of channels; what its families' chains share."""

from collections.abc import Callable, Iterable, Sequence
from math import sqrt
from typing import Any

import torchvision
from torch import Tensor, nn

from transferlab.backbones.base import Backbone
from transferlab.backbones.checking import check_chain
from transferlab.backbones.fitted import first_convolution
from transferlab.backbones.stages import Glue, Stage
from transferlab.errors import InputError, unknown
from transferlab.inputs.arrays import ArrayInput


def member(name: str, family: Sequence[str], input: ArrayInput) -> Any:
    """A family's net with fresh weights, for the input's channels.

    Args:
        name: in torchvision.
        family: patterns of the names that belong to the family.
        input: `shape` (C, H, W).

    Raises:
        InputError: no such net in the family, or an input that it cannot take.
    """
    check_member(name, family, input)
    return fresh(name, input)


def check_member(name: str, family: Sequence[str], input: ArrayInput) -> None:
    """Refuse a name outside the family and an input that is no image or a smaller one than 32 x 32.

    Raises:
        InputError: with the names or sizes that are allowed.
    """
    members = torchvision.models.list_models(torchvision.models, include=family)
    if name not in members:
        raise unknown("net of this family of torchvision", name, members)
    if len(input.shape) != 3 or input.shape[0] < 1:
        raise InputError(f"backbone.input.shape={list(input.shape)}: {name} takes [channels, height, width]")
    if min(input.shape[1:]) < 32:
        raise InputError(f"backbone.input.shape={list(input.shape)}: {name} takes images from 32 x 32 on")


def fresh(name: str, input: ArrayInput, **settings: Any) -> Any:
    """A net with fresh weights, for the input's channels; `settings` are further arguments of torchvision's builder."""
    net = torchvision.models.get_model(name, weights=None, **settings)
    _take_channels(net, input.shape[0])
    return net


def _take_channels(net: nn.Module, channels: int) -> None:
    """Rebuild the first convolution for images of `channels` channels, its fresh outputs spread as before."""
    convolution: Any = net.get_submodule(str(first_convolution(net)))
    weight = convolution.weight
    if convolution.in_channels != channels:
        spread = float(weight.detach().std()) * sqrt(convolution.in_channels / channels)
        rebuilt = weight.new_empty(weight.shape[0], channels, *weight.shape[2:]).normal_(std=spread)
        convolution.weight = nn.Parameter(rebuilt)
        convolution.in_channels = channels


def checked(backbone: Backbone, input: ArrayInput, library: Callable[[Tensor], Tensor] | None = None) -> Backbone:
    """The backbone, once its chain has been held against the library's own forward; None: the net's as it is."""
    check_chain(backbone, library or backbone.net, input.small(2))
    return backbone


def numbered(word: str, groups: Iterable[Sequence[str | Glue]]) -> list[Stage]:
    """One stage for each group of steps: `word1`, `word2`, ..."""
    return [Stage(f"{word}{number}", steps) for number, steps in enumerate(groups, start=1)]


def average_pool(net: nn.Module, x: Tensor) -> Tensor:
    """(B, C, H, W) to (B, C), as these nets compute it."""
    return nn.functional.adaptive_avg_pool2d(x, (1, 1)).flatten(1)


def relu(net: nn.Module, x: Tensor) -> Tensor:
    """Not in place: what the step before gave may be kept."""
    return nn.functional.relu(x)
