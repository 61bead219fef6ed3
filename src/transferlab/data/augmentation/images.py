"""Images turned, shifted and recoloured, while they are whole numbers of eight bits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from transferlab.data.augmentation.base import Each, borrowed, uniform
from transferlab.data.masks import IGNORED
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.inputs.base import Input
from transferlab.values import Value

# Of a transform that draws one of several changes each is met now, not in the middle of training.
_TRIES = 32


@dataclass(frozen=True)
class Flip:
    """Shows images as in a mirror, with the masks or boxes that are their labels.

    Args:
        share: of the images, in [0, 1].
    """

    share: float
    normalised: ClassVar[bool] = False
    costly: ClassVar[bool] = False

    def prepared(self, key: str, input: Input, y: Tensor) -> Each:  # noqa: D102
        _images(key, input)
        if not 0 <= self.share <= 1:
            raise InputError(f"{key}.share={self.share}: a share of the images in [0, 1]")
        return self

    def __call__(self, x: Value, y: Tensor, seeds: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W)."""
        assert isinstance(x, Tensor)
        turned = uniform(seeds, 1)[:, 0] < self.share
        y = y.index_put((turned,), _mirrored(y[turned])) if _located(y) else y
        return x.index_put((turned,), x[turned].flip(-1)), y


@dataclass(frozen=True)
class PaddedCrop:
    """Shifts images, masks with them; what comes in from outside is black, and no class (He et al. 2016, section 4.2).

    Args:
        share: of each side, by which an image is shifted at most; 1/8 are the 4 of 32 pixels of that paper.
    """

    share: float
    normalised: ClassVar[bool] = False
    costly: ClassVar[bool] = False

    def prepared(self, key: str, input: Input, y: Tensor) -> Each:  # noqa: D102
        _images(key, input)
        if not 0 <= self.share <= 1:
            raise InputError(f"{key}.share={self.share}: a share of each side in [0, 1]")
        if _are_boxes(y):
            raise InputError(f"{key} would cut boxes off: leave it out (~{key}), or choose augmentation=none")
        return self

    def __call__(self, x: Value, y: Tensor, seeds: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W)."""
        assert isinstance(x, Tensor)
        most = torch.tensor([round(self.share * side) for side in x.shape[2:]])
        shifts = (uniform(seeds, 2) * (2 * most + 1)).long()
        return _shifted(x, most, shifts, 0), _shifted(y, most, shifts, IGNORED) if _located(y) else y


@dataclass(frozen=True)
class EachImage:
    """One of torchvision's transforms (`torchvision.transforms.v2`), which draws anew for each image.

    Args:
        transform: takes (C, H, W) uint8 and gives the same shape.
    """

    transform: Callable[[Tensor], Tensor]
    normalised: ClassVar[bool] = False
    costly: ClassVar[bool] = True

    def prepared(self, key: str, input: Input, y: Tensor) -> Each:  # noqa: D102
        shape = _images(key, input)
        if _located(y):
            raise InputError(f"{key} would move the image and leave its labels behind: choose augmentation=none")
        name = type(self.transform).__name__
        try:
            given = self(torch.zeros(_TRIES, *shape, dtype=torch.uint8), y, range(_TRIES))[0][0]
        except Exception as error:  # torchvision's transforms raise nearly anything
            why = str(error).partition("\n")[0]
            raise InputError(f"{key}: {name} takes no images of backbone.input.shape={list(shape)}: {why}") from error
        if given.shape != shape or given.dtype != torch.uint8:
            made = f"{given.dtype} {list(given.shape)}"
            raise InputError(f"{key}: {name} makes {made} of uint8 {list(shape)}; choose one that keeps kind and shape")
        return self

    def __call__(self, x: Value, y: Tensor, seeds: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W)."""
        assert isinstance(x, Tensor)
        changed = []
        with borrowed() as generator:
            for image, seed in zip(x, seeds, strict=True):
                generator.manual_seed(seed)
                changed.append(self.transform(image))
        return torch.stack(changed), y


def _images(key: str, input: Input) -> torch.Size:
    """The shape of the images that a net takes.

    Raises:
        InputError: it takes something else.
    """
    if not isinstance(input, ArrayInput) or len(input.shape) != 3:
        raise InputError(f"{key} changes images, the backbone takes {input.kind}: choose augmentation=none")
    return torch.Size(input.shape)


def _located(y: Tensor) -> bool:
    """Whether labels say where on an image something is: masks (B, H, W) or boxes (B, M, 5)."""
    return y.ndim == 3


def _are_boxes(y: Tensor) -> bool:
    return _located(y) and y.is_floating_point()


def _mirrored(y: Tensor) -> Tensor:
    """Masks, or boxes of class, x1, y1, x2, y2 in shares of the sides; a row of class -1 is none."""
    if not _are_boxes(y):
        return y.flip(-1)
    kind, x1, y1, x2, y2 = y.unbind(-1)
    return torch.where((kind == -1)[..., None], y, torch.stack([kind, 1 - x2, y1, 1 - x1, y2], -1))


def _shifted(x: Tensor, most: Tensor, shifts: Tensor, outside: int) -> Tensor:
    """Windows of images padded by `most` (2,) on each side, cut `shifts` (B, 2) from their upper left corner."""
    (down, right), (height, width) = most.tolist(), x.shape[-2:]
    padded = pad(x, (right, right, down, down), value=outside)
    windows = [
        one[..., top : top + height, left : left + width]
        for one, (top, left) in zip(padded, shifts.tolist(), strict=True)
    ]
    return torch.stack(windows)
