"""A user's own arrays in one `.npz` file."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
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
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except ValueError as error:
        raise InputError(f"{path} is no .npz of plain numbers: {error}") from error
    for key in ("x_train", "y_train"):
        if key not in arrays:
            raise InputError(f"{path} has no array '{key}' (it has: {', '.join(arrays)})")
    names = arrays.get("classes")
    classes = len(names) if names is not None else int(arrays["y_train"].max(initial=-1)) + 1
    test = _samples(arrays, "test", classes, path) if "x_test" in arrays else None
    train = _samples(arrays, "train", classes, path)
    return Splits(train, test, tuple(map(str, names if names is not None else range(classes))))


def _samples(arrays: dict[str, Any], split: str, classes: int, path: str) -> InMemory:
    if f"y_{split}" not in arrays:
        raise InputError(f"{path} has 'x_{split}' but no 'y_{split}'")
    y = arrays[f"y_{split}"]
    if not np.issubdtype(y.dtype, np.integer):
        raise InputError(f"{path}: y_{split} is {y.dtype}, labels are integers from 0")
    x = _channels_first(torch.from_numpy(arrays[f"x_{split}"]), path)
    return checked(x, torch.from_numpy(y.astype(np.int64)), classes, f"{path}:{split}")


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
