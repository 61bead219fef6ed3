"""Arrays by name in one file, `.npz` or HDF5, and the images among them."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from transferlab.errors import InputError, nearest


def read(path: str, keys: Mapping[str, str] | None = None) -> Mapping[str, Any]:
    """The arrays of a file: a `.npz` of plain numbers, or HDF5 (`.h5`, `.hdf5`).

    Args:
        path: of the file.
        keys: where in an HDF5 file each array lies that is wanted, by its name here; None: all at its top.

    Raises:
        InputError: no file, a broken one, no such key, or no `x_train` and `y_train` in it.
    """
    if not Path(path).is_file():
        raise InputError(f"target.data.path={path}: there is no such file")
    try:
        hdf5 = keys is not None or Path(path).suffix in (".h5", ".hdf5")
        arrays = _hdf5(path, keys) if hdf5 else _npz(path)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is no .npz or HDF5 file of plain numbers: {error}") from error
    held = [split for split in ("train", "test") if f"x_{split}" in arrays or split == "train"]
    for key in (f"{letter}_{split}" for split in held for letter in "xy"):
        if key not in arrays:
            raise InputError(f"{path} has no array '{key}' (it has: {', '.join(arrays)})")
    return arrays


def images(x: Any, origin: str) -> Tensor:
    """Images (N, C, H, W) from (N, H, W), (N, H, W, C) or (N, C, H, W) uint8.

    Raises:
        InputError: another shape or kind of number, or no images.
    """
    if x.dtype != np.uint8 or x.ndim not in (3, 4):
        raise InputError(
            f"{origin} is {x.dtype} of the shape {x.shape}; images are uint8 (0..255), (N, H, W[, C]) or (N, C, H, W)"
        )
    if not len(x):
        raise InputError(f"{origin} holds no samples")
    found = torch.from_numpy(x)
    if found.ndim == 3:
        return found[:, None]
    return found.permute(0, 3, 1, 2).contiguous() if x.shape[-1] in (1, 3) and x.shape[1] not in (1, 3) else found


def names(arrays: Mapping[str, Any], largest: int) -> tuple[str, ...]:
    """The array `classes`; where there is none, numbers up to the largest label."""
    if "classes" not in arrays:
        return tuple(map(str, range(largest + 1)))
    return tuple(name.decode() if isinstance(name, bytes) else str(name) for name in arrays["classes"].tolist())


def labelled(y: Any, origin: str) -> Any:
    """The places of samples that have a label: classes of -1 are missing.

    Args:
        y: labels, (N, ...).
        origin: the array, for messages.

    Raises:
        InputError: none has one.
    """
    if y.dtype.kind not in "iu" or y.ndim != 1:
        return np.arange(y.shape[0] if y.ndim else 0)
    if y.size and (y == -1).all():
        raise InputError(f"{origin} is -1 everywhere, which means that no sample has a class")
    return np.flatnonzero(y != -1)


def _npz(path: str) -> Mapping[str, Any]:
    with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _hdf5(path: str, keys: Mapping[str, str] | None) -> Mapping[str, Any]:
    import h5py

    with h5py.File(path) as file:
        if keys is None:
            return {name: np.asarray(node) for name, node in file.items() if isinstance(node, h5py.Dataset)}
        held: list[str] = []
        file.visititems(lambda name, node: held.append(name) if isinstance(node, h5py.Dataset) else None)
        for name, key in keys.items():
            if key.strip("/") not in held:
                raise InputError(
                    f"target.data.{name}={key}: {path} has no such array{nearest(key, held)} (it has: "
                    f"{', '.join(held)})"
                )
        return {name: np.asarray(file[key]) for name, key in keys.items()}
