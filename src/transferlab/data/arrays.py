"""A user's own arrays in one `.npz` file."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transferlab.data.samples import InMemory, Splits, checked
from transferlab.errors import InputError


def npz(path: str) -> Splits:
    """Read `x_train, y_train` and, where they are, `x_test, y_test, classes`.

    Images are (N, H, W), (N, H, W, C) or (N, C, H, W) uint8, tables (N, D) of any number; labels are integers from 0.

    Raises:
        InputError: no file, no such key, objects instead of numbers, NaN, labels out of range.
    """
    if not Path(path).is_file():
        raise InputError(f"target.data.path={path}: there is no such file")
    try:
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is no .npz of plain numbers: {error}") from error
    for key in ("x_train", "y_train"):
        if key not in arrays:
            raise InputError(f"{path} has no array '{key}' (it has: {', '.join(arrays)})")
    labels = {split: _labels(arrays, split, path) for split in ("train", "test") if f"x_{split}" in arrays}
    names = _names(arrays["classes"]) if "classes" in arrays else None
    classes = len(names) if names is not None else int(labels["train"].max(initial=-1)) + 1
    read = {split: _samples(arrays[f"x_{split}"], y, split, classes, path) for split, y in labels.items()}
    return Splits(read["train"], read.get("test"), names or tuple(map(str, range(classes))))


def _names(classes: Any) -> tuple[str, ...]:
    return tuple(name.decode() if isinstance(name, bytes) else str(name) for name in classes.tolist())


def _labels(arrays: dict[str, Any], split: str, path: str) -> NDArray[np.int64]:
    if f"y_{split}" not in arrays:
        raise InputError(f"{path} has 'x_{split}' but no 'y_{split}'")
    y = arrays[f"y_{split}"]
    if not np.issubdtype(y.dtype, np.integer):
        raise InputError(f"{path}: y_{split} is {y.dtype}, labels are integers from 0")
    whole: NDArray[np.int64] = y.astype(np.int64)
    return whole


def _samples(x: Any, y: NDArray[np.int64], split: str, classes: int, path: str) -> InMemory:
    if x.dtype.kind not in "buif":
        raise InputError(f"{path}: x_{split} is {x.dtype}, inputs are real numbers")
    native = torch.from_numpy(x.astype(x.dtype.newbyteorder("="), copy=False))
    return checked(_channels_first(native, path), torch.from_numpy(y), classes, f"{path}:{split}")


def _channels_first(x: Tensor, path: str) -> Tensor:
    if x.ndim == 2:
        return x.float()
    if x.dtype != torch.uint8:
        raise InputError(f"{path}: images are uint8 (0..255), these are {x.dtype}")
    if x.ndim == 3:
        return x[:, None]
    if x.ndim == 4:
        return x.permute(0, 3, 1, 2).contiguous() if x.shape[-1] in (1, 3) and x.shape[1] not in (1, 3) else x
    raise InputError(f"{path}: x has the shape {tuple(x.shape)}; images are (N, H, W[, C]), tables (N, D)")
