"""A user's own arrays in one file: images or tables, with classes, numbers or several labels a sample."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from transferlab.data import archive
from transferlab.data.samples import InMemory, Splits, checked, checked_inputs
from transferlab.errors import InputError


def npz(path: str, range: Sequence[float]) -> Splits:
    """Read `x_train, y_train` and, where they are, `x_test, y_test, classes` from a `.npz` or HDF5 file.

    Images are (N, H, W), (N, H, W, C) or (N, C, H, W), tables (N, D) of any number. Labels are integers from 0, (N,),
    and -1 where one is missing: such samples are left out and counted; or floats: numbers to predict, (N,) or (N, K),
    or several labels of 0 and 1, (N, L), NaN where one is missing.

    Args:
        path: of the file.
        range: the lowest and the highest value of images of floats, which become 0 and 255 and what lies between is
            rounded; images of bytes stay as they are.

    Raises:
        InputError: no file, no such key, objects instead of numbers, NaN, labels out of range.
    """
    return _splits(archive.read(path), None, range, path)


def hdf5(
    path: str,
    x_train: str,
    y_train: str,
    x_test: str | None,
    y_test: str | None,
    classes: str | None,
    shape: Sequence[int] | None,
    range: Sequence[float],
) -> Splits:
    """Read an HDF5 file whose arrays have any names, such as `train/data`; otherwise as `npz`.

    Args:
        path: of the file.
        x_train: where the training inputs lie.
        y_train: and their labels.
        x_test: the test inputs; None: there are none.
        y_test: and their labels.
        classes: names of the classes or outputs; None: numbers.
        shape: of an image, (H, W), (H, W, C) or (C, H, W), where the file has it as one row; None: as it is.
        range: see `npz`.

    Raises:
        InputError: as `npz`, or images that have not as many values as `shape`.
    """
    keys = {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test, "classes": classes}
    return _splits(archive.read(path, {name: key for name, key in keys.items() if key is not None}), shape, range, path)


def _splits(arrays: Mapping[str, Any], shape: Sequence[int] | None, range: Sequence[float], path: str) -> Splits:
    classes = _names(arrays, path)
    held, left_out = {}, 0
    for split in ("train", "test"):
        if f"x_{split}" in arrays:
            y = arrays[f"y_{split}"]
            x = _inputs(arrays[f"x_{split}"], shape, range, f"{path}: x_{split}")
            rows = archive.labelled(y, f"{path}: y_{split}")
            whole = _samples(x, y, len(classes), f"{path}:{split}")
            held[split] = whole.take(torch.from_numpy(rows)) if len(rows) < len(whole) else whole
            left_out += len(whole) - len(rows)
    return Splits(held["train"], held.get("test"), classes, left_out)


def _names(arrays: Mapping[str, Any], path: str) -> tuple[str, ...]:
    """Of the classes or outputs."""
    y = arrays["y_train"]
    if y.dtype.kind not in "iuf":
        raise InputError(f"{path}: y_train is {y.dtype}, labels are integers from 0 or floats")
    if y.dtype.kind != "f":
        return archive.names(arrays, int(y.max()) if y.size else -1)
    outputs = y.shape[1] if y.ndim == 2 else 1
    names = archive.names(arrays, outputs - 1)
    if len(names) != outputs:
        raise InputError(f"{path}: 'classes' names {len(names)} outputs, y_train has {outputs} a sample")
    return names


def _inputs(x: Any, shape: Sequence[int] | None, range: Sequence[float], origin: str) -> Tensor:
    """Images (N, C, H, W) uint8, or a table (N, D) float32."""
    if x.dtype.kind not in "buif":
        raise InputError(f"{origin} is {x.dtype}, inputs are real numbers")
    if shape is not None:
        if x[:1].size != np.prod(shape):
            raise InputError(
                f"{origin} has {x[:1].size} values a sample, target.data.shape={list(shape)} {np.prod(shape)}"
            )
        x = x.reshape(len(x), *shape)
    if x.ndim == 2:
        return torch.from_numpy(x.astype(np.float32))
    return archive.images(_bytes(x, range, origin) if x.dtype.kind == "f" else x, origin)


def _bytes(x: Any, range: Sequence[float], origin: str) -> Any:
    """Images of floats as uint8."""
    lowest, highest = range
    if not lowest < highest:
        raise InputError(f"target.data.range={list(range)}: the lowest value of an image, then the highest")
    outside = ~((x >= lowest) & (x <= highest))  # NaN is outside too
    if outside.any():
        raise InputError(
            f"{origin} is {x.dtype} and holds {x[outside][0]:g}, outside target.data.range={list(range)}: set the "
            "range that means black to white, or save the images as uint8"
        )
    return np.rint((x.astype(np.float64) - lowest) * (255 / (highest - lowest))).astype(np.uint8)


def _samples(x: Tensor, y: Any, outputs: int, origin: str) -> InMemory:
    split = origin.rpartition(":")[2]
    if y.dtype.kind in "iu":
        return checked(x, torch.from_numpy(np.where(y == -1, 0, y.astype(np.int64))), outputs, origin)
    if y.dtype.kind != "f" or y.ndim not in (1, 2) or (y.shape[1] if y.ndim == 2 else 1) != outputs:
        raise InputError(
            f"{origin}: y_{split} is {y.dtype} of the shape {y.shape}; classes are integers (N,), numbers to predict "
            f"and columns of 0 and 1 are floats, {outputs} a sample as in training"
        )
    if (infinite := np.isinf(y)).any():
        raise InputError(f"{origin}: the label of sample {int(infinite.nonzero()[0][0])} is infinite; NaN is missing")
    checked_inputs(x, len(y), origin)
    return InMemory(x, torch.from_numpy(y.astype(np.float32)))
