"""A user's own time series in one `.npz` or HDF5 file."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transferlab.data import archive
from transferlab.data.samples import Splits
from transferlab.data.series import Series, gathered
from transferlab.errors import InputError


def series_npz(path: str, missing: str) -> Splits:
    """Read `x_train, y_train` and, where they are, `lengths_train`, the same of `test`, and `classes`.

    Series are (N, T) or, of several channels, (N, T, C), time before channels, of any number; `lengths` (N,) says how
    many steps of each are real, the rest being padding. Labels are integers from 0, and -1 where one is missing: such
    series are left out and counted; or, for regression, floats (N,) or (N, K).

    Args:
        path: of the file.
        missing: see `series.filled`; a step that was not measured is NaN.

    Raises:
        InputError: no file, no such key, objects instead of numbers, shapes or labels that do not fit.
    """
    arrays = archive.read(path)
    splits = [split for split in ("train", "test") if f"x_{split}" in arrays]
    classes = _classes(arrays)
    read = {split: _split(arrays, split, missing, len(classes), path) for split in splits}
    left_out = sum(len(arrays[f"y_{split}"]) - len(one) for split, one in read.items())
    channels = [one.held.steps.shape[1] for one in read.values()]
    if len(set(channels)) > 1:
        raise InputError(f"{path}: the test split has {channels[1]} channels, its training split {channels[0]}")
    return Splits(read["train"], read.get("test"), classes, left_out)


def _classes(arrays: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of classes, or of outputs: those given, or numbers."""
    y = arrays["y_train"]
    whole = y.dtype.kind in "iu"
    outputs = (int(y.max()) if y.size else -1) + 1 if whole else y.shape[-1] if y.ndim > 1 else 1
    return archive.names(arrays, outputs - 1)


def _split(arrays: Mapping[str, Any], split: str, missing: str, outputs: int, path: str) -> Series:
    x, y = arrays[f"x_{split}"], arrays[f"y_{split}"]
    if x.dtype.kind not in "buif" or x.ndim not in (2, 3):
        raise InputError(f"{path}: x_{split} is {x.dtype} {x.shape}; series are numbers, (N, T) or (N, T, C)")
    if len(x) != len(y) or not len(x):
        raise InputError(f"{path}: x_{split} holds {len(x)} series, y_{split} {len(y)} labels; there is one for each")
    x = (x if x.ndim == 3 else x[..., None]).astype(np.float32)
    lengths = _lengths(arrays.get(f"lengths_{split}"), x, f"{path}: lengths_{split}")
    names = [f"{path}: series {sample} of x_{split}" for sample in range(len(x))]
    series = [one[:length] for one, length in zip(x, lengths, strict=True)]
    rows = torch.from_numpy(archive.labelled(y, f"{path}: y_{split}"))
    return gathered(series, _labels(y, outputs, f"{path}: y_{split}"), missing, names).take(rows)


def _lengths(lengths: NDArray[Any] | None, x: NDArray[Any], name: str) -> list[int]:
    if lengths is None:
        return [x.shape[1]] * len(x)
    if lengths.dtype.kind not in "iu" or lengths.shape != (len(x),):
        raise InputError(f"{name} is {lengths.dtype} {lengths.shape}; it has one whole number for each of {len(x)}")
    if outside := [sample for sample, length in enumerate(lengths) if not 1 <= length <= x.shape[1]]:
        raise InputError(f"{name}: series {outside[0]} has {lengths[outside[0]]} steps, outside 1..{x.shape[1]}")
    return [int(length) for length in lengths]


def _labels(y: NDArray[Any], outputs: int, name: str) -> Tensor:
    """Classes (N,), where -1 is one that is missing, or numbers (N,) or (N, K), where NaN is."""
    if y.dtype.kind == "f" and y.ndim in (1, 2) and (y.shape[1] if y.ndim == 2 else 1) == outputs:
        return torch.from_numpy(y.astype(np.float32))
    if y.dtype.kind not in "iu" or y.ndim != 1:
        raise InputError(
            f"{name} is {y.dtype} {y.shape}; classes are integers from 0, (N,), numbers to predict are floats, (N,) or "
            f"(N, {outputs})"
        )
    if outside := [sample for sample, label in enumerate(y) if not -1 <= label < outputs]:
        raise InputError(
            f"{name}: series {outside[0]} is of class {y[outside[0]]}, outside 0..{outputs - 1}, those of training"
        )
    return torch.from_numpy(y.astype(np.int64))
