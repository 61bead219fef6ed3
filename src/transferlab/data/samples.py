"""Labelled samples that are fetched a batch at a time, and those that lie in memory as one tensor."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
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
