"""Labelled images in files: decoded whenever a batch asks for them, or once."""

import hashlib
import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from transferlab.cache import contents
from transferlab.data.samples import fit_image
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.inputs.base import Input, expect


@dataclass(frozen=True)
class Images:
    """Images decoded when a batch asks for them; `names` are their files, or what an error calls them."""

    load: Callable[[int], Image.Image]
    names: tuple[str, ...]
    y: Tensor
    positions: Tensor
    input: ArrayInput | None = None
    known: dict[int, bytes] = field(default_factory=dict, repr=False, compare=False)
    """Digests by position, shared by all that was taken from one set."""
    labelled: ClassVar[Literal[True]] = True

    @classmethod
    def of(cls, load: Callable[[int], Image.Image], names: Sequence[str], y: Tensor) -> "Images":
        """All images of a set: `load(i)` decodes the i-th, `names[i]` is what an error calls it."""
        return cls(load, tuple(names), y, torch.arange(len(y)))

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        if self.input is None:
            raise RuntimeError("images are fetched after `prepared(input)`")
        index = torch.as_tensor(indices)
        return torch.cat(self._all_fitted(self.positions[index].tolist(), self.input)), self.y[index]

    def take(self, indices: Tensor) -> "Images":  # noqa: D102
        return replace(self, y=self.y[indices], positions=self.positions[indices])

    def relabelled(self, y: Tensor) -> "Images":  # noqa: D102
        return replace(self, y=y)

    def prepared(self, input: Input) -> "Images":  # noqa: D102
        arrays = expect(input, ArrayInput, "images", "choose one for images, such as backbone=convnet")
        if len(arrays.shape) == 1:
            shape = list(arrays.shape)
            raise InputError(f"backbone.input.shape={shape} takes tables, the data are images: choose [C, H, W]")
        return replace(self, input=arrays)

    def digests(self) -> list[bytes]:
        """Of each file's bytes, or of the pixels of what is in no file."""
        return self._digests

    def place(self, index: int) -> str:
        """The file."""
        return self.names[int(self.positions[index])]

    def fingerprint(self) -> str:  # noqa: D102
        digest = hashlib.blake2b(b"".join(self._digests), digest_size=8)
        digest.update(self.y.numpy().tobytes())
        return digest.hexdigest()

    @cached_property
    def _digests(self) -> list[bytes]:
        positions = self.positions.tolist()
        files = [one for one in positions if one not in self.known and Path(self.names[one]).is_file()]
        self.known.update(zip(files, contents.digests([self.names[one] for one in files], _verified), strict=True))
        others = [one for one in positions if one not in self.known]
        self.known.update({one: _hashed(self._decoded(one).numpy().tobytes()) for one in others})
        return [self.known[one] for one in positions]

    def _all_fitted(self, positions: Sequence[int], input: ArrayInput) -> list[Tensor]:
        """Several at a time where they are files of their own, which do not ask after each other."""
        fitted, threads = partial(self._fitted, input=input), torch.get_num_threads()
        if not isinstance(self.load, Opened) or min(threads, len(positions)) < 2:
            return list(map(fitted, positions))
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(fitted, positions))

    def _fitted(self, position: int, input: ArrayInput) -> Tensor:
        decoded = self._decoded(position)[None]
        try:
            return fit_image(decoded, input)
        except InputError as error:  # images of one set may have different channels
            raise InputError(f"{self.names[position]}: {error}") from None

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
class _Kept:
    """Images that are decoded once; labels, and what they are known by, are theirs."""

    images: Images
    labelled: ClassVar[Literal[True]] = True

    @property
    def y(self) -> Tensor:
        """Labels (N,)."""
        return self.images.y

    def __len__(self) -> int:
        return len(self.images)

    def prepared(self, input: Input) -> "Decoded":
        """For a backbone's shape; none of them decoded yet."""
        return Decoded.of(self.images.prepared(input))

    def fingerprint(self) -> str:
        return self.images.fingerprint()

    def digests(self) -> list[bytes]:
        return self.images.digests()

    def place(self, index: int) -> str:
        return self.images.place(index)


@dataclass(frozen=True)
class Decoded(_Kept):
    """Images that are decoded and resized when a batch first asks for them, and then lie in memory as uint8.

    Attributes:
        images: with the shape of a backbone.
        x: (N, C, H, W), of which those that `done` (N,) says are there.
    """

    x: Tensor
    done: Tensor

    @classmethod
    def of(cls, images: Images) -> "Decoded":
        """None of them decoded yet."""
        assert images.input is not None
        # pages that nothing is written to take no memory; torch's own are filled where operations are deterministic
        x = torch.from_numpy(np.empty((len(images), *images.input.shape), np.uint8))
        return cls(images, x, torch.zeros(len(images)) > 0)

    def __getitem__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        index = torch.as_tensor(indices)
        if not (done := self.done[index]).all():
            missing = torch.unique(index[~done])
            self.x[missing] = self.images[missing.tolist()][0]
            self.done[missing] = True
        return self.x[index], self.y[index]

    def decode(self) -> None:
        """All of them.

        Raises:
            InputError: one is broken, or of other channels than the backbone takes.
        """
        if not self.done.all():
            self[range(len(self))]

    def take(self, indices: Tensor) -> "Decoded":  # noqa: D102
        return Decoded(self.images.take(indices), self.x[indices], self.done[indices])

    def relabelled(self, y: Tensor) -> "Decoded":  # noqa: D102
        return replace(self, images=self.images.relabelled(y))


@dataclass(frozen=True)
class Cached(_Kept):
    """Images that are decoded and resized once for a backbone's shape, see `Decoded`."""

    def __getitem__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        return self.images[indices]

    def take(self, indices: Tensor) -> "Cached":  # noqa: D102
        return Cached(self.images.take(indices))

    def relabelled(self, y: Tensor) -> "Cached":  # noqa: D102
        return Cached(self.images.relabelled(y))


def _verified(file: str) -> bytes:
    """The hash of the bytes of an image.

    Raises:
        InputError: it is none, which is found before training and not in the test.
    """
    content = Path(file).read_bytes()
    try:
        Image.open(io.BytesIO(content)).verify()
    except Exception as error:  # Pillow's readers raise nearly anything
        raise InputError(f"{file} is no readable image: {error}; repair or remove it") from error
    return _hashed(content)


def _hashed(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


class Opened:
    """Opens the i-th file; a class, because loader processes pickle it."""

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = paths

    def __call__(self, index: int) -> Image.Image:
        """Not decoded yet."""
        return Image.open(self.paths[index])
