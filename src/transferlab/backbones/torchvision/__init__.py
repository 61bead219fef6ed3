"""torchvision's families by name; stages are torchvision's own modules, their names torchvision's where it has any."""

from transferlab.backbones.torchvision.convnets import (
    convnext,
    densenet,
    efficientnet,
    mobilenet_v2,
    mobilenet_v3,
    regnet,
    resnet,
)
from transferlab.backbones.torchvision.transformers import swin, vit
from transferlab.backbones.torchvision.vggs import vgg

__all__ = [
    "convnext",
    "densenet",
    "efficientnet",
    "mobilenet_v2",
    "mobilenet_v3",
    "regnet",
    "resnet",
    "swin",
    "vgg",
    "vit",
]
