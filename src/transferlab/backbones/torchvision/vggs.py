"""torchvision's VGGs, with their fully connected layers or with a head right on their maps."""

from math import prod
from typing import Any

from torch import nn

from transferlab.backbones.base import Backbone
from transferlab.backbones.glue import flatten
from transferlab.backbones.stages import Stage
from transferlab.backbones.torchvision.library import checked, member
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput


def vgg(input: ArrayInput, name: str, pooling: str) -> Backbone:
    """VGG (Simonyan & Zisserman 2015), with BatchNorm or without.

    Args:
        input: images (C, H, W).
        name: in torchvision.
        pooling: `classifier`: stages `block1..block5, pool, fc6, fc7`, features 4096, as published. `mean`: stages
            `block1..block5, pool`, features 512, each map's mean. `flatten`: the same stages, features all numbers of
            the maps, 512 * (H // 32) * (W // 32). Of these two the published fc6 and fc7 are left out.

    Raises:
        InputError: no such net or pooling, or an input that it cannot take.
    """
    if pooling not in ("classifier", "mean", "flatten"):
        raise InputError(f"backbone.pooling={pooling}: classifier, mean or flatten")
    net = member(name, ("vgg*",), input)
    if pooling == "classifier":
        backbone = _with_classifier(net, name)
    elif pooling == "mean":
        backbone = _without_classifier(net, name, nn.AdaptiveAvgPool2d(1), 512)
    else:
        backbone = _without_classifier(net, name, nn.Identity(), 512 * prod(side // 32 for side in input.shape[1:]))
    return checked(backbone, input)


def _with_classifier(net: Any, name: str) -> Backbone:
    """Pooled to 7 x 7, then fc6 and fc7, each with ReLU and dropout."""
    net.classifier[6] = nn.Identity()
    stages = [
        *_blocks(net),
        Stage("pool", ["avgpool", flatten]),
        Stage("fc6", ["classifier.0", "classifier.1", "classifier.2"]),
        Stage("fc7", ["classifier.3", "classifier.4", "classifier.5"]),
    ]
    return Backbone(net, stages, 4096, name, ignored=["classifier.6"], tail="pool")


def _without_classifier(net: Any, name: str, pooling: nn.Module, features: int) -> Backbone:
    net.avgpool, net.classifier = pooling, nn.Identity()
    stages = [*_blocks(net), Stage("pool", ["avgpool", flatten])]
    return Backbone(net, stages, features, name, ignored=["classifier"], tail="pool")


def _blocks(net: nn.Module) -> list[Stage]:
    """A block ends with its pooling."""
    blocks: list[list[str]] = [[]]
    for index, module in enumerate(net.get_submodule("features").children()):
        blocks[-1].append(f"features.{index}")
        if isinstance(module, nn.MaxPool2d):
            blocks.append([])
    return [Stage(f"block{number}", steps) for number, steps in enumerate(blocks, start=1) if steps]
