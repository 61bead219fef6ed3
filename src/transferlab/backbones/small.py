"""Small nets of our own: for tests, tables and a laptop's CPU."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from torch import Tensor, nn

from transferlab.backbones.base import Backbone, Stage
from transferlab.errors import InputError


def convnet(input: Mapping[str, Any], widths: Sequence[int]) -> Backbone:
    """Blocks of 3x3 convolution, BatchNorm, ReLU and 2x2 max-pooling; stages `block1..blockN, pool`.

    Args:
        input: `shape` (C, H, W).
        widths: channels of each block.

    Returns:
        A backbone whose features are the last block's channels, averaged over the image: (B, widths[-1]).
    """
    if len(input["shape"]) != 3:
        raise InputError(f"backbone.input.shape={list(input['shape'])}: convnet takes [channels, height, width]")
    channels, *size = input["shape"]
    _check_widths(widths)
    if min(size) < 2 ** len(widths):
        raise InputError(f"images of {size} are too small for {len(widths)} blocks that halve them each")
    blocks = OrderedDict[str, nn.Module]()
    for number, (before, after) in enumerate(zip((channels, *widths), widths, strict=False), start=1):
        blocks[f"block{number}"] = nn.Sequential(
            nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)
        )
    stages = [*(Stage(name, [name]) for name in blocks), Stage("pool", [_spatial_mean])]
    return Backbone(nn.Sequential(blocks), stages, widths[-1], "convnet")


def mlp(input: Mapping[str, Any], widths: Sequence[int]) -> Backbone:
    """Layers of linear and ReLU on flattened inputs; stages `layer1..layerN`, features (B, widths[-1]).

    Args:
        input: `shape` (D,) or (C, H, W).
        widths: units of each layer.
    """
    _check_widths(widths)
    layers = OrderedDict[str, nn.Module]()
    sizes = (prod(input["shape"]), *widths)
    for number, (before, after) in enumerate(zip(sizes, widths, strict=False), start=1):
        layers[f"layer{number}"] = nn.Sequential(nn.Linear(before, after), nn.ReLU())
    first, *rest = layers
    stages = [Stage(first, [_flatten, first]), *(Stage(name, [name]) for name in rest)]
    return Backbone(nn.Sequential(layers), stages, widths[-1], "mlp")


def _check_widths(widths: Sequence[int]) -> None:
    if not widths or not all(isinstance(width, int) and width > 0 for width in widths):
        raise InputError(f"backbone.widths={list(widths)}: one whole number above 0 for each block or layer")


def _spatial_mean(net: nn.Module, x: Tensor) -> Tensor:
    return x.mean((2, 3))


def _flatten(net: nn.Module, x: Tensor) -> Tensor:
    return x.flatten(1)
