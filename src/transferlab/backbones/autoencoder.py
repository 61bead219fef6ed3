"""The encoder of an autoencoder; its decoder is the head of the task `reconstruction`."""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from math import ceil, prod

from torch import nn

from transferlab.backbones.base import Backbone
from transferlab.backbones.glue import flatten
from transferlab.backbones.small import array_shape, check_widths, layers
from transferlab.backbones.stages import Stage
from transferlab.errors import InputError
from transferlab.inputs.base import Input


def autoencoder(input: Input, widths: Sequence[int], code: int) -> Backbone:
    """An encoder to a code of a few numbers (Hinton & Salakhutdinov 2006); its last stage is `code`, a linear layer.

    Images pass blocks of 3x3 convolution with stride 2, BatchNorm and ReLU, stages `block1..blockN`: strides rather
    than pooling, because a decoder has to know where things lie. Tables pass layers of linear and ReLU, stages
    `layer1..layerN`.

    Args:
        input: `shape` (C, H, W) or (D,).
        widths: channels of each block or units of each layer; of a table they may be none, a linear autoencoder.
        code: length of the code.

    Returns:
        A backbone whose features are the code, (B, code).

    Raises:
        InputError: an input of another kind, widths that are none, or no code.
    """
    shape = array_shape(input, "autoencoder")
    if code < 1:
        raise InputError(f"backbone.code={code}: at least 1")
    check_widths(widths, fewest=0 if len(shape) == 1 else 1)
    if len(shape) == 1:
        net, reached = layers((shape[0], *widths)), (shape[0], *widths)[-1]
    else:
        net = _blocks((shape[0], *widths))
        reached = widths[-1] * prod(ceil(size / 2 ** len(widths)) for size in shape[1:])
    stages = [*(Stage(name, [name]) for name in net), Stage("code", [flatten, "code"])]
    net["code"] = nn.Linear(reached, code)
    return Backbone(nn.Sequential(net), stages, code, "autoencoder", tail="code")


def _blocks(widths: Sequence[int]) -> OrderedDict[str, nn.Module]:
    blocks = OrderedDict[str, nn.Module]()
    for number, (before, after) in enumerate(pairwise(widths), start=1):
        convolution = nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)
        blocks[f"block{number}"] = nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU())
    return blocks
