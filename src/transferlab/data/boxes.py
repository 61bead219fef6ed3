"""Images whose labels are boxes around objects: how these are laid out, and arrays of them in one file.

Labels are (N, M, 5): the class and the corners x1, y1, x2, y2 in shares of the image's width and height, so that they
hold at any size; an image with fewer objects than another is filled up with rows of class -1.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from transferlab.data import archive
from transferlab.data.samples import InMemory, Splits
from transferlab.errors import InputError


def box_arrays(path: str) -> Splits:
    """Read `x_train, y_train` and, where they are, `x_test, y_test, classes` from a `.npz` or HDF5 file.

    Images are (N, H, W), (N, H, W, C) or (N, C, H, W) uint8; boxes (N, M, 5) as this module has them.

    Raises:
        InputError: no file, no such array, or a box of no class, without area or outside its image.
    """
    arrays = archive.read(path)
    classes = archive.names(arrays, int(np.max(arrays["y_train"][..., :1], initial=0)))
    held = {}
    for split in ("train", "test"):
        if f"x_{split}" in arrays:
            x = archive.images(arrays[f"x_{split}"], f"{path}: x_{split}")
            held[split] = InMemory(x, _checked(arrays[f"y_{split}"], len(x), len(classes), f"{path}: y_{split}"))
    return Splits(held["train"], held.get("test"), classes)


def padded(boxes: Sequence[Sequence[Sequence[float]]]) -> Tensor:
    """Boxes (M_i, 5) of each image as one tensor (N, M, 5), filled up with class -1."""
    most = max(1, *(len(of_image) for of_image in boxes)) if boxes else 1
    y = torch.tensor([-1.0, 0.0, 0.0, 0.0, 0.0]).repeat(len(boxes), most, 1)
    for row, of_image in zip(y, boxes, strict=True):
        if of_image:
            row[: len(of_image)] = torch.tensor(of_image)
    return y


def _checked(y: Any, count: int, classes: int, origin: str) -> Tensor:
    if y.dtype.kind not in "iuf" or y.ndim != 3 or y.shape[2] != 5 or len(y) != count:
        raise InputError(
            f"{origin} is {y.dtype} of the shape {y.shape}; boxes of {count} images are ({count}, M, 5): "
            "class, x1, y1, x2, y2 in shares of the image, class -1 where there are fewer"
        )
    boxes = torch.from_numpy(y.astype(np.float32))
    named, corners = boxes[..., 0], boxes[..., 1:]
    real = named != -1
    faults = {
        f"a class that is no whole number in 0..{classes - 1}": (named % 1 != 0) | (named < 0) | (named >= classes),
        "a corner outside the image (0..1)": ~((corners >= 0) & (corners <= 1)).all(-1),
        "no area (x1 < x2 and y1 < y2)": ~(corners[..., 2:] > corners[..., :2]).all(-1),
    }
    for what, wrong in faults.items():
        if (wrong & real).any():
            image, box = (wrong & real).nonzero()[0].tolist()
            raise InputError(f"{origin}: box {box} of image {image} has {what}: {boxes[image, box].tolist()}")
    if not real.any():
        raise InputError(f"{origin} has no box on any image")
    return boxes
