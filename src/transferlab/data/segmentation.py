"""A user's own images with masks: in folders, or as arrays in one file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS

from transferlab.data import archive
from transferlab.data.images import Images, Opened
from transferlab.data.masks import IGNORED, Masked, MaskedFiles, check_classes, coarse
from transferlab.data.samples import Samples, Splits
from transferlab.errors import InputError

_NAMES = "classes.txt"


def mask_folder(
    root: str, train: str | None, test: str | None, classes: Sequence[str] | None, in_memory: bool
) -> Splits:
    """Read `root/train/images/*` with `root/train/masks/*.png` of the same stems, and `root/test/...` likewise.

    Args:
        root: the folder.
        train: sub-folder of the training samples; None if `root` itself holds `images` and `masks`.
        test: sub-folder of the test samples; where there is none, test samples are cut from training.
        classes: names in the order of their numbers; None: the lines of `root/classes.txt`, or where that is missing
            the numbers up to the largest in the training masks.
        in_memory: decode and resize once, at the start.

    Raises:
        InputError: a folder is missing or empty, an image has no mask of its size, a mask is no PNG of one channel or
            has a class without a name.
    """
    base = Path(root) / train if train else Path(root)
    test_base = Path(root) / test if train and test else None
    pairs = _pairs(base)
    masks = _MaskFiles([str(mask) for _, mask in pairs])
    names = tuple(classes) if classes is not None else _names(Path(root), masks)
    held = None
    if test_base is not None and test_base.is_dir():
        test_pairs = _pairs(test_base)
        held = _samples(test_pairs, _MaskFiles([str(mask) for _, mask in test_pairs]), names, in_memory)
    return Splits(_samples(pairs, masks, names, in_memory), held, names)


def mask_arrays(path: str) -> Splits:
    """Read `x_train, y_train` and, where they are, `x_test, y_test, classes` from a `.npz` or HDF5 file.

    Images are (N, H, W), (N, H, W, C) or (N, C, H, W) uint8, masks (N, H, W) integers: classes from 0, or 255.

    Raises:
        InputError: no file, no such array, sizes that differ, or a class without a name.
    """
    arrays = archive.read(path)
    largest = int(np.max(arrays["y_train"], initial=0, where=arrays["y_train"] != IGNORED))
    classes = archive.names(arrays, largest)
    held = {
        split: _arrays(arrays[f"x_{split}"], arrays[f"y_{split}"], classes, f"{path}:{split}")
        for split in ("train", "test")
        if f"x_{split}" in arrays
    }
    return Splits(held["train"], held.get("test"), classes)


def _arrays(x: Any, y: Any, classes: Sequence[str], origin: str) -> Masked:
    images = archive.images(x, f"{origin}: x")
    if not np.issubdtype(y.dtype, np.integer) or y.shape != (len(x), *images.shape[2:]):
        raise InputError(
            f"{origin}: y is {y.dtype} of the shape {y.shape}; masks are integers, one a pixel of the images: "
            f"{(len(x), *images.shape[2:])}"
        )
    masks = torch.from_numpy(y.astype(np.int64))
    for sample, mask in enumerate(masks):
        check_classes(mask, classes, f"{origin}: mask {sample}")
    return Masked(images, masks.to(torch.uint8))


def _pairs(base: Path) -> list[tuple[Path, Path]]:
    """Images and their masks, by their paths within the two folders without the suffix."""
    for folder in (base / "images", base / "masks"):
        if not folder.is_dir():
            raise InputError(
                f"target.data.root: there is no folder {folder}; images lie in {base / 'images'}, masks of the same "
                f"names in {base / 'masks'} (target.data.train=null where there is no sub-folder for training)"
            )
    images = _by_stem(base / "images", IMG_EXTENSIONS)
    masks = _by_stem(base / "masks", (".png",))
    if not images:
        raise InputError(f"{base / 'images'} holds no images ({', '.join(IMG_EXTENSIONS)})")
    if alone := sorted(images.keys() - masks.keys()):
        raise InputError(f"{images[alone[0]]} has no mask {base / 'masks' / alone[0]}.png: add it or remove the image")
    if alone := sorted(masks.keys() - images.keys()):
        raise InputError(f"{masks[alone[0]]} is the mask of no image in {base / 'images'}: add that or remove the mask")
    return [(images[stem], masks[stem]) for stem in sorted(images)]


def _by_stem(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() in suffixes:
            stem = file.relative_to(folder).with_suffix("").as_posix()
            if stem in found:
                raise InputError(f"{found[stem]} and {file} differ in their suffix alone, and there is one mask a name")
            found[stem] = file
    return found


def _names(root: Path, masks: "_MaskFiles") -> tuple[str, ...]:
    if (root / _NAMES).is_file():
        return tuple(line.strip() for line in (root / _NAMES).read_text().splitlines() if line.strip())
    known = (mask[mask != IGNORED] for mask in masks)
    return tuple(map(str, range(1 + max((int(mask.max()) for mask in known if len(mask)), default=0))))


def _samples(pairs: Sequence[tuple[Path, Path]], masks: "_MaskFiles", names: Sequence[str], in_memory: bool) -> Samples:
    """All masks are looked at now: a wrong one is found before training, not in the test."""
    found = []
    for position, (image, path) in enumerate(pairs):
        mask = masks[position]
        check_classes(mask, names, str(path))
        if (size := _size(image)) != tuple(mask.shape):
            raise InputError(
                f"{image} has {size[0]} x {size[1]} pixels (height x width), its mask {path} {mask.shape[0]} x "
                f"{mask.shape[1]}: mend one of them"
            )
        found.append(coarse(mask))
    files = [str(image) for image, _ in pairs]
    images = Images.of(Opened(files), files, torch.arange(len(files)))
    return MaskedFiles(images, masks, torch.stack(found), in_memory)


def _size(file: Path) -> tuple[int, int]:
    """Height and width, of which a file's beginning tells."""
    try:
        with Image.open(file) as image:
            return image.height, image.width
    except Exception as error:  # Pillow's readers raise nearly anything
        raise InputError(f"{file} is no readable image: {error}; repair or remove it") from error


class _MaskFiles(Sequence[Tensor]):
    """Masks (h, w) uint8 in PNG files: the numbers of a palette, or grey levels."""

    def __init__(self, files: Sequence[str]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: Any) -> Any:
        file = self.files[index]
        try:
            with Image.open(file) as image:
                mode, mask = image.mode, np.array(image)
        except Exception as error:  # Pillow's readers raise nearly anything
            raise InputError(f"{file} is no readable mask: {error}; repair or remove it") from error
        if mask.ndim != 2:
            raise InputError(f"{file} is {mode}: a mask has one channel, the numbers of a palette or grey levels")
        if mask.max() > IGNORED:
            raise InputError(f"{file} has a pixel of class {mask.max()}: classes go from 0 to 254, 255 is ignored")
        return torch.from_numpy(mask.astype(np.uint8))
