"""Labelled samples that are fetched a batch at a time: in memory as one tensor, or as images decoded when asked for."""

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from transferlab.errors import InputError

Shape = Sequence[int]


class Samples(Protocol):
    """A set of labelled samples; a batch is fetched by a list of indices in one go."""

    @property
    def y(self) -> Tensor:
        """Labels, (N,) int64."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]: ...

    def take(self, indices: Tensor) -> "Samples":
        """The samples at `indices` (n,), in that order."""
        ...

    def relabelled(self, y: Tensor) -> "Samples":
        """The same inputs under other labels (N,)."""
        ...

    def prepared(self, shape: Shape) -> "Samples":
        """Inputs brought to a backbone's `shape`, (channels, height, width) or (features,), still unnormalised."""
        ...

    def fingerprint(self) -> str:
        """A hash of inputs and labels."""
        ...


@dataclass(frozen=True)
class Splits:
    """What a reader gives: `test` is None where the set has no test split of its own."""

    train: Samples
    test: Samples | None
    classes: tuple[str, ...]


@dataclass(frozen=True)
class InMemory:
    """Samples that lie in memory: x is (N, C, H, W) uint8 for images or (N, D) float32 for tables."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        index = torch.as_tensor(indices)
        return self.x[index], self.y[index]

    def take(self, indices: Tensor) -> "InMemory":  # noqa: D102
        return InMemory(self.x[indices], self.y[indices])

    def relabelled(self, y: Tensor) -> "InMemory":  # noqa: D102
        return replace(self, y=y)

    def prepared(self, shape: Shape) -> "InMemory":  # noqa: D102
        if len(shape) == 1:
            flat = self.x.flatten(1)  # uint8 stays, and is scaled with its batch
            if flat.shape[1] != shape[0]:
                raise InputError(
                    f"the data have {flat.shape[1]} features, backbone.input.shape={list(shape)} takes {shape[0]}; "
                    f"set backbone.input.shape=[{flat.shape[1]}]"
                )
            return replace(self, x=flat)
        if self.x.ndim != 4:
            raise InputError(
                f"the data are tables of {self.x.shape[1]} features, backbone.input.shape={list(shape)} takes images; "
                f"choose backbone=mlp backbone.input.shape=[{self.x.shape[1]}]"
            )
        return replace(self, x=fit_image(self.x, shape))

    def fingerprint(self) -> str:  # noqa: D102
        digest = hashlib.blake2b(digest_size=8)
        for tensor in (self.x, self.y):
            digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Images:
    """Images decoded when a batch asks for them; `names` are their files, or what an error calls them."""

    load: Callable[[int], Image.Image]
    names: tuple[str, ...]
    y: Tensor
    positions: Tensor
    shape: Shape | None = None

    @classmethod
    def of(cls, load: Callable[[int], Image.Image], names: Sequence[str], y: Tensor) -> "Images":
        """All images of a set: `load(i)` decodes the i-th, `names[i]` is what an error calls it."""
        return cls(load, tuple(names), y, torch.arange(len(y)))

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        if self.shape is None:
            raise RuntimeError("images are fetched after `prepared(shape)`")
        images = [fit_image(self._decoded(int(self.positions[i]))[None], self.shape) for i in indices]
        return torch.cat(images), self.y[torch.as_tensor(indices)]

    def take(self, indices: Tensor) -> "Images":  # noqa: D102
        return replace(self, y=self.y[indices], positions=self.positions[indices])

    def relabelled(self, y: Tensor) -> "Images":  # noqa: D102
        return replace(self, y=y)

    def prepared(self, shape: Shape) -> "Images":  # noqa: D102
        if len(shape) == 1:
            raise InputError(f"backbone.input.shape={list(shape)} takes tables, the data are images: choose [C, H, W]")
        return replace(self, shape=tuple(shape))

    def fingerprint(self) -> str:  # noqa: D102
        digest = hashlib.blake2b(digest_size=8)
        for position in self.positions.tolist():
            name = self.names[position]
            digest.update(self._bytes(name) if Path(name).is_file() else self._pixels(position))
        digest.update(self.y.numpy().tobytes())
        return digest.hexdigest()

    def _bytes(self, file: str) -> bytes:
        """A file's bytes, once it is known to be an image: a broken one is found before training, not in the test."""
        content = Path(file).read_bytes()
        try:
            Image.open(io.BytesIO(content)).verify()
        except Exception as error:  # Pillow's readers raise nearly anything
            raise InputError(f"{file} is no readable image: {error}; repair or remove it") from error
        return content

    def _pixels(self, position: int) -> bytes:
        return bytes(self._decoded(position).numpy().tobytes())

    def _decoded(self, position: int) -> Tensor:
        try:
            image = self.load(position)
            if image.mode.startswith("I;16"):  # Pillow would clip instead of scaling
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            image = image.convert("L" if image.mode in ("1", "L") else "RGB")
        except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
            raise InputError(f"{self.names[position]} is no readable image: {error}; repair or remove it") from error
        decoded: Tensor = transforms.pil_to_tensor(image)
        return decoded


@dataclass(frozen=True)
class Cached:
    """Images that are decoded and resized once, when a backbone's shape is known, and then lie in memory as uint8."""

    images: Images

    @property
    def y(self) -> Tensor:
        """Labels (N,)."""
        return self.images.y

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        return self.images[indices]

    def take(self, indices: Tensor) -> "Cached":  # noqa: D102
        return Cached(self.images.take(indices))

    def relabelled(self, y: Tensor) -> "Cached":  # noqa: D102
        return Cached(self.images.relabelled(y))

    def prepared(self, shape: Shape) -> InMemory:  # noqa: D102
        return InMemory(*self.images.prepared(shape)[range(len(self))])

    def fingerprint(self) -> str:  # noqa: D102
        return self.images.fingerprint()


def fit_image(x: Tensor, shape: Shape) -> Tensor:
    """Bring images (N, C, H, W) uint8 to `shape`: grey is repeated for colour nets, size is resampled with antialias.

    Raises:
        InputError: the channels cannot be fitted.
    """
    channels, height, width = shape
    if x.shape[1] == 1 and channels > 1:
        x = x.expand(-1, channels, -1, -1)
    elif x.shape[1] != channels:
        raise InputError(
            f"the images have {x.shape[1]} channels, backbone.input.shape={list(shape)} takes {channels}; "
            f"set backbone.input.shape=[{x.shape[1]},{height},{width}] or choose another backbone"
        )
    if x.shape[2:] != (height, width):
        x = transforms.resize(x, [height, width], antialias=True)
    return x.contiguous()


def checked(x: Tensor, y: Tensor, classes: int, origin: str) -> InMemory:
    """Samples in memory, or a sentence on what is wrong with them.

    Args:
        x: inputs, (N, ...).
        y: labels, (N,).
        classes: how many classes the set has.
        origin: the file, for messages.

    Raises:
        InputError: no samples, lengths that differ, NaN or infinite inputs, labels outside [0, classes).
    """
    if y.numel() == 0:
        raise InputError(f"{origin} holds no samples")
    if y.ndim != 1:
        raise InputError(
            f"{origin}: y_{origin.rpartition(':')[2]} has the shape {tuple(y.shape)}, labels are one a sample"
        )
    if len(x) != len(y):
        raise InputError(f"{origin} has {len(x)} inputs but {len(y)} labels")
    if x.is_floating_point() and not (finite := x.flatten(1).isfinite().all(1)).all():
        sample = int((~finite).nonzero()[0])
        raise InputError(f"{origin}: sample {sample} holds NaN or infinity; fill or remove it")
    outside = (y < 0) | (y >= classes)
    if outside.any():
        sample = int(outside.nonzero()[0])
        raise InputError(
            f"{origin}: the label of sample {sample} is {int(y[sample])}, outside 0..{classes - 1} ({classes} classes)"
        )
    return InMemory(x, y.long())
