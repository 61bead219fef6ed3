"""What stands on the features: heads for the tasks whose samples are one vector each."""

from collections.abc import Sequence
from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transferlab.errors import InputError


def mlp(features: int, outputs: int, *, widths: Sequence[int], dropout: float) -> nn.Sequential:
    """Hidden layers of linear, ReLU and dropout before the last linear one.

    Args:
        features: of the backbone.
        outputs: of the head.
        widths: units of each hidden layer; none: a linear head.
        dropout: share of the hidden units left out in training, in [0, 1).

    Raises:
        InputError: a width or a share that is none.
    """
    _check_widths(widths)
    if not 0 <= dropout < 1:
        raise InputError(f"task.head.dropout={dropout}: a share in [0, 1)")
    layers: list[nn.Module] = []
    for before, after in pairwise((features, *widths)):
        layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear((features, *widths)[-1], outputs))


def cosine(features: int, outputs: int, *, scale: float, learned: bool) -> "Cosine":
    """Logits from the angle between features and the weights of a class, whatever their lengths.

    The classifier of Gidaris & Komodakis 2018, "Dynamic Few-Shot Visual Learning without Forgetting" (CVPR), whose
    scale is learned, and of Baseline++ in Chen et al. 2019, "A Closer Look at Few-shot Classification" (ICLR).

    Args:
        features: of the backbone.
        outputs: of the head.
        scale: by which the cosines are multiplied, or from which it is learned; above 0.
        learned: whether the scale trains with the head.

    Raises:
        InputError: a scale of 0 or less.
    """
    if scale <= 0:
        raise InputError(f"task.head.scale={scale}: a number above 0")
    return Cosine(features, outputs, scale, learned)


class Cosine(nn.Module):
    """`scale * cos(w_c, x)` for each class c: (B, F) to (B, C), each in [-scale, scale]."""

    def __init__(self, features: int, outputs: int, scale: float, learned: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, features))
        start = torch.tensor(float(scale))
        self.scale: Tensor
        if learned:
            self.scale = nn.Parameter(start)
        else:
            self.register_buffer("scale", start)

    def forward(self, features: Tensor) -> Tensor:
        """The scaled cosines; 0 for features that are all 0."""
        cosines: Tensor = F.linear(F.normalize(features), F.normalize(self.weight))
        return self.scale * cosines


def dot(features: int, outputs: int) -> "Dot":
    """The product of a user's and an item's features, for ratings.

    Args:
        features: of both together, the user's half first.
        outputs: 1, the rating.

    Raises:
        InputError: features that are not two halves, or more than one output.
    """
    if features % 2 or outputs != 1:
        raise InputError(
            f"task.head=dot takes two halves of features, a user's and an item's, and gives one number; here are "
            f"{features} features and {outputs} outputs: choose backbone=embeddings task=rating, or another task/head"
        )
    return Dot(features)


class Dot(nn.Module):
    """`u . v + b . [u, v] + c` of features [u, v]: (B, F) to (B, 1).

    The biased matrix factorisation of Koren, Bell & Volinsky 2009, "Matrix Factorization Techniques for Recommender
    Systems" (Computer), with a user's and an item's bias read off their rows by `b`, so that they move with these.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.bias = nn.Linear(features, 1)

    def forward(self, features: Tensor) -> Tensor:
        """The ratings."""
        user, item = features.chunk(2, 1)
        biases: Tensor = self.bias(features)
        return (user * item).sum(1, keepdim=True) + biases


def decoder(features: int, shape: Sequence[int], *, widths: Sequence[int]) -> nn.Module:
    """Rebuild inputs from their features: images by convolutions, rows of tables by dense layers.

    Args:
        features: of the backbone.
        shape: of one input, (C, H, W) or (D,).
        widths: for images the channels of each block, which doubles height and width; else units of each hidden layer.

    Raises:
        InputError: a width that is none.
    """
    _check_widths(widths)
    if len(shape) == 3:
        return Upsampling(features, shape, widths)
    return nn.Sequential(mlp(features, prod(shape), widths=widths, dropout=0.0), nn.Unflatten(1, tuple(shape)))


class Upsampling(nn.Module):
    """Blocks of nearest-neighbour doubling, 3x3 convolution and ReLU from (B, F) to images (B, C, H, W).

    What is larger than the image, because its size cannot be halved so often, is cut off at the right and at the foot.
    """

    def __init__(self, features: int, shape: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        channels, self.height, self.width = shape
        smallest = [-(-size // 2 ** len(widths)) for size in (self.height, self.width)]
        first = widths[0] if widths else channels
        self.start = nn.Sequential(nn.Linear(features, first * prod(smallest)), nn.Unflatten(1, (first, *smallest)))
        blocks: list[nn.Module] = []
        for before, after in pairwise((first, *widths)):
            blocks += [nn.ReLU(), nn.Upsample(scale_factor=2), nn.Conv2d(before, after, 3, padding=1)]
        last = (first, *widths)[-1]
        self.blocks = nn.Sequential(*blocks, nn.ReLU(), nn.Conv2d(last, channels, 3, padding=1))

    def forward(self, features: Tensor) -> Tensor:
        """The images."""
        image: Tensor = self.blocks(self.start(features))
        return image[:, :, : self.height, : self.width]


def _check_widths(widths: Sequence[int]) -> None:
    if not all(isinstance(width, int) and width > 0 for width in widths):
        raise InputError(f"task.head.widths={list(widths)}: whole numbers above 0")
