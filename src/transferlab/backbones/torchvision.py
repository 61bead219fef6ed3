"""torchvision's families by name; stages are torchvision's own modules, their names torchvision's where it has any."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from transferlab.backbones.base import Backbone, Stage, check_chain
from transferlab.errors import InputError, unknown


def resnet(input: Mapping[str, Any], name: str) -> Backbone:
    """ResNets (He et al. 2016): stages `stem, layer1, layer2, layer3, layer4, pool`, features 512 or 2048."""
    net = _build(name, "resnet", input)
    features = net.fc.in_features
    net.fc = nn.Identity()
    stages = [
        Stage("stem", ["conv1", "bn1", "relu", "maxpool"]),
        *(Stage(layer, [layer]) for layer in ("layer1", "layer2", "layer3", "layer4")),
        Stage("pool", ["avgpool", _flatten]),
    ]
    return _checked(Backbone(net, stages, features, name, ignored=["fc"]), net, input)


def vgg(input: Mapping[str, Any], name: str) -> Backbone:
    """VGGs (Simonyan & Zisserman 2015): stages `block1..block5, pool, fc6, fc7`, features 4096."""
    net = _build(name, "vgg", input)
    features = net.classifier[6].in_features
    net.classifier[6] = nn.Identity()
    stages = [
        *_vgg_blocks(net),
        Stage("pool", ["avgpool", _flatten]),
        Stage("fc6", ["classifier.0", "classifier.1", "classifier.2"]),
        Stage("fc7", ["classifier.3", "classifier.4", "classifier.5"]),
    ]
    return _checked(Backbone(net, stages, features, name, ignored=["classifier.6"]), net, input)


def _vgg_blocks(net: nn.Module) -> list[Stage]:
    """A block ends with its pooling."""
    blocks: list[list[str]] = [[]]
    for index, module in enumerate(net.get_submodule("features").children()):
        blocks[-1].append(f"features.{index}")
        if isinstance(module, nn.MaxPool2d):
            blocks.append([])
    return [Stage(f"block{number}", steps) for number, steps in enumerate(blocks, start=1) if steps]


def _build(name: str, family: str, input: Mapping[str, Any]) -> Any:
    members = [member for member in torchvision.models.list_models() if member.startswith(family)]
    if name not in members:
        raise unknown(f"{family} of torchvision", name, members)
    if len(input["shape"]) != 3 or input["shape"][0] != 3:
        raise InputError(
            f"backbone.input.shape={list(input['shape'])}: {name} takes [3, height, width]; grey is repeated"
        )
    if min(input["shape"][1:]) < 32:
        raise InputError(f"backbone.input.shape={list(input['shape'])}: {name} takes images from 32 x 32 on")
    return torchvision.models.get_model(name, weights=None)


def _checked(backbone: Backbone, library: Callable[[Tensor], Tensor], input: Mapping[str, Any]) -> Backbone:
    size = min(64, *input["shape"][1:])
    example = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    check_chain(backbone, library, example)
    return backbone


def _flatten(net: nn.Module, x: Tensor) -> Tensor:
    return x.flatten(1)
