"""Images and rows of tables, as one tensor a batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from transferlab.errors import InputError
from transferlab.inputs.base import Shape
from transferlab.values import Value

_NUMBERS = 16 * 3 * 224 * 224
"""Of a batch at most: what the first stages of a net make of more is new memory, and in no cache of the processor."""


@dataclass(frozen=True)
class ArrayInput:
    """Images (C, H, W) or table rows (D,), scaled and normalised.

    Args:
        shape: (channels, height, width) or (features,).
        mean: of each channel, for images scaled to [0, 1]; None: no normalisation.
        std: likewise.
        interpolation: how images are resized: `bilinear`, `bicubic`, `nearest`, each with antialiasing.
        crop: share of an image's shorter side, in (0, 1], whose middle is kept, with its proportions, as published nets
            are scored on; None: the whole image, squashed to the shape.

    Raises:
        InputError: numbers that do not fit together.
    """

    shape: Shape
    mean: Sequence[float] | None
    std: Sequence[float] | None
    interpolation: str
    crop: float | None

    def __post_init__(self) -> None:
        for key, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) not in (1, self.shape[0]):
                raise InputError(
                    f"backbone.input.{key}={list(values)} has {len(values)} numbers for {self.shape[0]} channels; "
                    f"give one, or one a channel"
                )
        if (self.mean is None) != (self.std is None):
            raise InputError("backbone.input.mean and backbone.input.std belong together: give both, or null for both")
        if self.interpolation not in ("bilinear", "bicubic", "nearest"):
            raise InputError(f"backbone.input.interpolation={self.interpolation}: bilinear, bicubic or nearest")
        if self.crop is not None and not 0 < self.crop <= 1:
            raise InputError(f"backbone.input.crop={self.crop}: a share above 0, at most 1; null for the whole image")

    @classmethod
    def of(cls, *shape: int) -> "ArrayInput":
        """Of a shape, whole images, resized bilinearly, not normalised."""
        return cls(shape, None, None, "bilinear", None)

    @property
    def kind(self) -> str:
        """Images or tables."""
        return "tables" if len(self.shape) == 1 else "images"

    def at_once(self, most: int) -> int:
        """How many samples pass a net at once on the CPU, `most` at most, where no gradient needs them together."""
        return max(min(most, _NUMBERS // prod(self.shape)), 1)

    def normalised(self, x: Value) -> Tensor:
        """Scale uint8 to [0, 1] and normalise, on the device, where it arrived at a quarter of the bytes."""
        assert isinstance(x, Tensor)
        x = x.float().div_(255) if x.dtype == torch.uint8 else x.float()
        if self.mean is not None and self.std is not None:
            mean, std = (self._by_channel(values, x) for values in (self.mean, self.std))
            x = (x - mean).div_(std)
        return x

    def example(self, count: int) -> Tensor:
        """Uniform noise (count, *shape)."""
        return torch.rand(count, *self.shape, generator=torch.Generator().manual_seed(0))

    def small(self, count: int) -> Tensor:
        """Uniform noise, images at most 64 pixels a side: for nets that take any size, to be tried out on."""
        shape = (self.shape[0], *(min(64, size) for size in self.shape[1:]))
        return torch.rand(count, *shape, generator=torch.Generator().manual_seed(0))

    def _by_channel(self, values: Sequence[float], x: Tensor) -> Tensor:
        return torch.tensor(values, device=x.device).reshape(-1, *[1] * (len(self.shape) - 1))
