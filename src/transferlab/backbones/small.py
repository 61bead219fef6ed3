"""Small nets of our own: for tests, tables and a laptop's CPU."""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from transferlab.backbones.base import Backbone
from transferlab.backbones.glue import flatten, spatial_mean
from transferlab.backbones.stages import Stage
from transferlab.errors import InputError
from transferlab.inputs.base import Input, Shape
from transferlab.inputs.ids import IdsInput
from transferlab.values import Pair


def convnet(input: Input, widths: Sequence[int]) -> Backbone:
    """Blocks of 3x3 convolution, BatchNorm, ReLU and 2x2 max-pooling; stages `block1..blockN, pool`.

    Args:
        input: `shape` (C, H, W).
        widths: channels of each block.

    Returns:
        A backbone whose features are the last block's channels, averaged over the image: (B, widths[-1]).
    """
    shape = array_shape(input, "convnet")
    if len(shape) != 3:
        raise InputError(f"backbone.input.shape={list(shape)}: convnet takes [channels, height, width]")
    channels, *size = shape
    check_widths(widths)
    if min(size) < 2 ** len(widths):
        raise InputError(f"images of {size} are too small for {len(widths)} blocks that halve them each")
    blocks = OrderedDict[str, nn.Module]()
    for number, (before, after) in enumerate(zip((channels, *widths), widths, strict=False), start=1):
        blocks[f"block{number}"] = nn.Sequential(
            nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)
        )
    stages = [*(Stage(name, [name]) for name in blocks), Stage("pool", [spatial_mean])]
    return Backbone(nn.Sequential(blocks), stages, widths[-1], "convnet", tail="pool")


def mlp(input: Input, widths: Sequence[int]) -> Backbone:
    """Layers of linear and ReLU on flattened inputs; stages `layer1..layerN`, features (B, widths[-1]).

    Args:
        input: `shape` (D,) or (C, H, W).
        widths: units of each hidden layer. None at all: the features are the inputs themselves, so a linear head is
            logistic regression, and the one stage, `inputs`, has nothing to train.
    """
    check_widths(widths, fewest=0)
    sizes = (prod(array_shape(input, "mlp")), *widths)
    hidden = layers(sizes)
    stages = [Stage(name, [flatten, name]) for name in hidden] or [Stage("inputs", [flatten])]
    return Backbone(nn.Sequential(hidden), stages, sizes[-1], "mlp")


def embeddings(input: IdsInput, dimensions: int) -> Backbone:
    """A table of users and a table of items, as factorisations of a matrix of ratings have; stages `users, items`.

    Koren, Bell & Volinsky 2009, "Matrix Factorization Techniques for Recommender Systems" (Computer). Each table is a
    stage, so that users or items can be frozen, or carried over from another set with the same users or items.

    Args:
        input: how many of each there are.
        dimensions: length of a user's or an item's vector.

    Returns:
        A backbone whose features are a user's vector and an item's, side by side: (B, 2 * dimensions).

    Raises:
        InputError: an input of another kind, or vectors of no length.
    """
    if not isinstance(input, IdsInput):
        raise InputError(f"backbone=embeddings takes pairs of ids, its input gives {input.kind}: leave its own input")
    if dimensions < 1:
        raise InputError(f"backbone.dimensions={dimensions}: at least 1")
    net = _Tables(input.users, input.items, dimensions)
    stages = [Stage("users", [_look_up_user], owns=["users"]), Stage("items", [_look_up_item], owns=["items"])]
    return Backbone(net, stages, 2 * dimensions, "embeddings")


class _Tables(nn.Module):
    def __init__(self, users: int, items: int, dimensions: int) -> None:
        super().__init__()
        self.users = nn.Embedding(users, dimensions)
        self.items = nn.Embedding(items, dimensions)
        for table in (self.users, self.items):
            # so that the dot product of two vectors begins with a deviation of 1 / sqrt(dimensions)
            nn.init.normal_(table.weight, std=dimensions**-0.5)


@runtime_checkable
class _Arrays(Protocol):
    """An input whose batches are one tensor."""

    @property
    def shape(self) -> Shape:
        """Of one sample."""
        ...


def array_shape(input: Input, net: str) -> Shape:
    """The shape of what a net is to take.

    Raises:
        InputError: the input gives no arrays.
    """
    if not isinstance(input, _Arrays):
        raise InputError(
            f"backbone '{net}' takes images or tables, its input gives {input.kind}: set input@backbone.input=image"
        )
    return input.shape


def check_widths(widths: Sequence[int], fewest: int = 1) -> None:
    """Refuse widths that are none.

    Raises:
        InputError: fewer of them than `fewest`, or one that is no whole number above 0.
    """
    if len(widths) < fewest or not all(isinstance(width, int) and width > 0 for width in widths):
        raise InputError(f"backbone.widths={list(widths)}: one whole number above 0 for each block or layer")


def layers(sizes: Sequence[int]) -> OrderedDict[str, nn.Module]:
    """Linear and ReLU from each size to the next, `layer1` first."""
    found = OrderedDict[str, nn.Module]()
    for number, (before, after) in enumerate(pairwise(sizes), start=1):
        found[f"layer{number}"] = nn.Sequential(nn.Linear(before, after), nn.ReLU())
    return found


def _look_up_user(net: nn.Module, ids: Tensor) -> Pair:
    return Pair(net.get_submodule("users")(ids[:, 0]), ids[:, 1])


def _look_up_item(net: nn.Module, x: Pair) -> Tensor:
    return torch.cat([x.first, net.get_submodule("items")(x.second)], 1)
