"""Labelled samples that are fetched a batch at a time, and those that lie in memory as one tensor."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.inputs.base import Input, expect
from transferlab.values import Value


class Samples(Protocol):
    """A set of labelled samples; a batch is fetched by a list of indices in one go."""

    @property
    def y(self) -> Tensor:
        """Labels: classes (N,) int64, or what else the task takes, (N, ...)."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, indices: Sequence[int]) -> tuple[Value, Tensor]: ...

    def take(self, indices: Tensor) -> "Samples":
        """The samples at `indices` (n,), in that order."""
        ...

    def relabelled(self, y: Tensor) -> "Samples":
        """The same inputs under other labels (N, ...)."""
        ...

    def prepared(self, input: Input) -> "Samples":
        """Inputs brought to what a backbone takes, still unnormalised.

        Raises:
            InputError: the data are of another kind.
        """
        ...

    def fingerprint(self) -> str:
        """A hash of inputs and labels."""
        ...


@runtime_checkable
class Grouped(Protocol):
    """Samples of which some belong together, say captions of one image: no cut parts them."""

    @property
    def groups(self) -> Sequence[int] | None:
        """The group of each sample, by number, (N,); None: each stands for itself."""
        ...


def groups(samples: Samples) -> NDArray[np.int64] | None:
    """The group of each sample, (N,); None where each stands for itself."""
    found = samples.groups if isinstance(samples, Grouped) else None
    numbers = None if found is None else np.asarray(found, np.int64)
    return None if numbers is None or len(np.unique(numbers)) == len(numbers) else numbers


@dataclass(frozen=True)
class Splits:
    """What a reader gives.

    Attributes:
        train: labelled samples.
        test: None where the set has no test split of its own.
        classes: names of the classes, or of the outputs of another task; empty where outputs have no names.
        unlabelled: how many samples were left out because they have no label.
    """

    train: Samples
    test: Samples | None
    classes: tuple[str, ...]
    unlabelled: int = 0


@runtime_checkable
class Labelled(Protocol):
    """Samples whose batches have the labels that they say they have, which needs no look at one."""

    @property
    def labelled(self) -> Literal[True]:
        """They are."""
        ...


@runtime_checkable
class Deferred(Protocol):
    """Samples that are brought into memory when they are first asked for."""

    def decode(self) -> None:
        """Bring all of them now, so that what is wrong with one shows.

        Raises:
            InputError: one cannot be read, or does not fit the backbone.
        """
        ...


@dataclass(frozen=True)
class InMemory:
    """Samples that lie in memory: x is (N, C, H, W) uint8 for images or (N, D) float32 for tables."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        index = torch.from_numpy(np.asarray(indices, dtype=np.int64))  # twice as fast as from a list
        return self.x.index_select(0, index), self.y.index_select(0, index)

    def take(self, indices: Tensor) -> "InMemory":  # noqa: D102
        return InMemory(self.x[indices], self.y[indices])

    def relabelled(self, y: Tensor) -> "InMemory":  # noqa: D102
        return replace(self, y=y)

    def prepared(self, input: Input) -> "InMemory":  # noqa: D102
        kind = "images" if self.x.ndim == 4 else "tables"
        arrays = expect(input, ArrayInput, kind, "choose one for arrays, such as backbone=convnet or backbone=mlp")
        shape = arrays.shape
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
                f"choose backbone=mlp input@backbone.input=table backbone.input.shape=[{self.x.shape[1]}]"
            )
        return replace(self, x=fit_image(self.x, arrays))

    def fingerprint(self) -> str:  # noqa: D102
        digest = hashlib.blake2b(digest_size=8)
        for tensor in (self.x, self.y):
            digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()


def fit_image(x: Tensor, input: ArrayInput) -> Tensor:
    """Bring images (N, C, H, W) uint8 to the shape of the input, by its interpolation, with antialias, and its crop.

    Grey is repeated for colour nets.

    Raises:
        InputError: the channels cannot be fitted.
    """
    channels, height, width = input.shape
    if x.shape[1] == 1 and channels > 1:
        x = x.expand(-1, channels, -1, -1)
    elif x.shape[1] != channels:
        raise InputError(
            f"the images have {x.shape[1]} channels, backbone.input.shape={list(input.shape)} takes {channels}; "
            f"set backbone.input.shape=[{x.shape[1]},{height},{width}] or choose another backbone"
        )
    if x.shape[2:] != (height, width) or input.crop not in (None, 1):
        mode = transforms.InterpolationMode(input.interpolation)
        x = transforms.resize(x, _size(x, height, width, input.crop), mode, antialias=True)
        x = transforms.center_crop(x, [height, width])
    return x.contiguous()


def _size(x: Tensor, height: int, width: int, crop: float | None) -> list[int]:
    """What images are resized to before their middle is cut out."""
    if crop is None:
        return [height, width]
    scale = max(height / x.shape[2], width / x.shape[3]) / crop
    return [max(round(x.shape[2] * scale), height), max(round(x.shape[3] * scale), width)]


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
    if y.ndim != 1 and y.numel():
        raise InputError(
            f"{origin}: y_{origin.rpartition(':')[2]} has the shape {tuple(y.shape)}, classes are one a sample; "
            "several labels of 0 and 1 a sample are saved as floats"
        )
    checked_inputs(x, y.numel(), origin)
    outside = (y < 0) | (y >= classes)
    if outside.any():
        sample = int(outside.nonzero()[0])
        raise InputError(
            f"{origin}: the label of sample {sample} is {int(y[sample])}, outside 0..{classes - 1} ({classes} classes)"
        )
    return InMemory(x, y.long())


def checked_inputs(x: Tensor, labels: int, origin: str) -> None:
    """See that there is an input for each label, and that each is made of numbers.

    Raises:
        InputError: no samples, lengths that differ, NaN or infinite inputs.
    """
    if not labels:
        raise InputError(f"{origin} holds no samples")
    if len(x) != labels:
        raise InputError(f"{origin} has {len(x)} inputs but {labels} labels")
    if x.is_floating_point() and not (finite := x.flatten(1).isfinite().all(1)).all():
        sample = int((~finite).nonzero()[0])
        raise InputError(f"{origin}: sample {sample} holds NaN or infinity; fill or remove it")
