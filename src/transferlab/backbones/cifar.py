"""The ResNets for CIFAR-10 of He et al. (2016), under the names of the checkpoints that are published for them."""

from collections import OrderedDict
from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional as F

from transferlab.backbones.base import Backbone
from transferlab.backbones.glue import spatial_mean
from transferlab.backbones.stages import Stage
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput

_WIDTHS = (16, 32, 64)


def resnet(input: ArrayInput, depth: int) -> Backbone:
    """ResNets for small images (He et al. 2016, https://arxiv.org/abs/1512.03385, section 4.2, shortcuts of option A).

    A 3x3 convolution, then three layers of (depth - 2) / 6 blocks with 16, 32 and 64 channels, each layer but the first
    halving the image; stages `stem, layer1, layer2, layer3, pool`, features (B, 64). The paper's error on CIFAR-10 is
    8.75, 7.51, 7.17, 6.97 and 6.43 % for the depths 20, 32, 44, 56 and 110 (table 6).

    Args:
        input: `shape` (C, H, W), in the paper (3, 32, 32).
        depth: layers with weights, 6n + 2.

    Raises:
        InputError: no such depth, or the input is no image.
    """
    if len(input.shape) != 3:
        raise InputError(f"backbone.input.shape={list(input.shape)}: cifar_resnet takes [channels, height, width]")
    blocks, rest = divmod(depth - 2, 6)
    if blocks < 1 or rest:
        raise InputError(f"backbone.depth={depth}: 6n + 2 with n of at least 1, e.g. 20, 32, 44, 56 or 110")
    net = nn.Sequential(
        OrderedDict(
            conv1=_convolution(input.shape[0], _WIDTHS[0], stride=1),
            bn1=nn.BatchNorm2d(_WIDTHS[0]),
            relu=nn.ReLU(),
            layer1=_layer(_WIDTHS[0], _WIDTHS[0], blocks),
            layer2=_layer(_WIDTHS[0], _WIDTHS[1], blocks),
            layer3=_layer(_WIDTHS[1], _WIDTHS[2], blocks),
        )
    )
    layers = [Stage(layer, [layer]) for layer in ("layer1", "layer2", "layer3")]
    stages = [Stage("stem", ["conv1", "bn1", "relu"]), *layers, Stage("pool", [spatial_mean])]
    return Backbone(net, stages, _WIDTHS[-1], f"cifar_resnet{depth}", ignored=["linear"], tail="pool")


def published(backbone: Backbone, folder: Path) -> Path:
    """The checkpoint for a backbone's depth in a folder of them, `resnet20-12fca82f.th` for cifar_resnet20.

    They are those of https://github.com/akamaster/pytorch_resnet_cifar10, trained on inputs normalised as ImageNet's.

    Raises:
        InputError: the backbone is none of these nets, or the folder holds no file for it, or several.
    """
    if not backbone.name.startswith("cifar_"):
        raise InputError(
            f"source.weights=cifar_resnets:{folder}: the checkpoints are of CIFAR ResNets, the backbone is "
            f"'{backbone.name}'; choose backbone=cifar_resnet20, 32, 44 or 56"
        )
    pattern = f"{backbone.name.removeprefix('cifar_')}-*.th"
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise InputError(
            f"source.weights=cifar_resnets:{folder}: the folder holds {len(found)} files {pattern} for backbone "
            f"'{backbone.name}', one is expected; set source.folder, or choose source=checkpoint source.weights=FILE"
        )
    return found[0]


class _Block(nn.Module):
    """Two 3x3 convolutions and a shortcut without parameters."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self._stride, self._missing = (1, 0) if before == after else (2, after - before)
        self.conv1 = _convolution(before, after, self._stride)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = _convolution(after, after, stride=1)
        self.bn2 = nn.BatchNorm2d(after)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(hidden)) + self._shortcut(x))

    def _shortcut(self, x: Tensor) -> Tensor:
        """Option A: every other pixel, and channels of zeros, half of them before and half behind."""
        before = self._missing // 2
        return F.pad(x[:, :, :: self._stride, :: self._stride], (0, 0, 0, 0, before, self._missing - before))


def _layer(before: int, after: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(*(_Block(before if index == 0 else after, after) for index in range(blocks)))


def _convolution(before: int, after: int, stride: int) -> nn.Conv2d:
    """Drawn as the paper says, i.e. as He et al. (2015, https://arxiv.org/abs/1502.01852) do."""
    convolution = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight)
    return convolution
