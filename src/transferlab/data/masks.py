"""Images whose labels are masks: a class for every pixel, 255 where it is not known."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from transferlab.data.images import Cached, Images
from transferlab.data.samples import InMemory, Samples
from transferlab.data.vault import nothing
from transferlab.errors import InputError
from transferlab.inputs.base import Input

IGNORED = 255
"""The class of a pixel that no loss and no metric looks at."""


@dataclass(frozen=True)
class Masked:
    """Images and masks that lie in memory as uint8; the masks of a batch are int64.

    Attributes:
        x: images (N, C, H, W) uint8.
        y: masks (N, H, W) uint8.
    """

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        index = torch.as_tensor(indices)
        return self.x[index], self.y[index].long()

    def take(self, indices: Tensor) -> "Masked":  # noqa: D102
        return Masked(self.x[indices], self.y[indices])

    def relabelled(self, y: Tensor) -> "Masked":  # noqa: D102
        return replace(self, y=y.to(torch.uint8))

    def sealed(self) -> InMemory:
        """The images alone."""
        return InMemory(self.x, nothing(len(self)))

    def prepared(self, input: Input) -> "Masked":  # noqa: D102
        x = InMemory(self.x, self.y).prepared(input).x
        if x.ndim != 4:
            raise InputError("the data are images with masks, and a net for tables takes no images: choose another")
        return Masked(x, fit_mask(self.y, x.shape[2:]))

    def fingerprint(self) -> str:  # noqa: D102
        return InMemory(self.x, self.y).fingerprint()


@dataclass(frozen=True)
class MaskedFiles:
    """Images and masks in files, of any size; decoded when a batch asks for them, or once at the start.

    Attributes:
        images: their labels are the positions of their masks.
        masks: each (h, w) uint8.
        small: each mask as `coarse` gives it, (N, 32, 32).
        in_memory: whether they are decoded and resized once, when a backbone's shape is known.
    """

    images: Images
    masks: Sequence[Tensor]
    small: Tensor
    in_memory: bool

    @property
    def y(self) -> Tensor:
        """Each mask made small, (N, 32, 32): masks of different sizes make no tensor. A batch has them whole."""
        return self.small[self.images.y]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        x, y = self._fetched(indices)
        return x, y.long()

    def take(self, indices: Tensor) -> "MaskedFiles":  # noqa: D102
        return replace(self, images=self.images.take(indices))

    def relabelled(self, y: Tensor) -> "MaskedFiles":  # noqa: D102
        masks = list(y.to(torch.uint8))
        return replace(
            self,
            images=self.images.relabelled(torch.arange(len(y))),
            masks=masks,
            small=torch.stack([coarse(mask) for mask in masks]),
        )

    def sealed(self) -> Samples:
        """The images alone; their masks are not opened."""
        images = self.images.relabelled(nothing(len(self)))
        return Cached(images) if self.in_memory else images

    def prepared(self, input: Input) -> "Masked | MaskedFiles":  # noqa: D102
        ready = replace(self, images=self.images.prepared(input))
        return Masked(*ready._fetched(range(len(self)))) if self.in_memory else ready

    def fingerprint(self) -> str:  # noqa: D102
        digest = hashlib.blake2b(self.images.fingerprint().encode(), digest_size=8)
        for position in self.images.y.tolist():
            digest.update(self.masks[position].numpy().tobytes())
        return digest.hexdigest()

    def digests(self) -> list[bytes]:
        """Of the images' files."""
        return self.images.digests()

    def place(self, index: int) -> str:
        """The image's file."""
        return self.images.place(index)

    def _fetched(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        x, positions = self.images[indices]
        return x, torch.stack([fit_mask(self.masks[position], x.shape[2:]) for position in positions.tolist()])


def fit_mask(y: Tensor, size: Sequence[int]) -> Tensor:
    """Bring masks (..., h, w) to (..., H, W): each pixel takes the class at its centre, none are mixed."""
    if y.shape[-2:] == tuple(size):
        return y
    # one channel more, because torchvision takes what has three dimensions for an image
    resized: Tensor = transforms.resize(y[..., None, :, :], list(size), InterpolationMode.NEAREST_EXACT)
    return resized[..., 0, :, :]


def coarse(mask: Tensor) -> Tensor:
    """A mask (h, w) at 32 x 32 points, in which classes have about the shares that they have in the whole of it."""
    return fit_mask(mask, (32, 32))


def check_classes(y: Tensor, classes: Sequence[str], origin: str) -> None:
    """See that a mask has only classes with a name, and `IGNORED`.

    Raises:
        InputError: another one.
    """
    outside = (y != IGNORED) & ((y < 0) | (y >= len(classes)))
    if outside.any():
        raise InputError(
            f"{origin} has a pixel of class {int(y[outside][0])}, outside 0..{len(classes) - 1} "
            f"({len(classes)} classes; {IGNORED} is ignored); name more classes or mend the mask"
        )
