"""Cells of a file's table as words and numbers, with a sentence for whatever is wrong with them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from transferlab.errors import InputError, unknown
from transferlab.inputs.origins import first_line

_READERS: dict[str, Callable[[str], Any]] = {".csv": pd.read_csv, ".parquet": pd.read_parquet}


def as_words(cells: Any) -> Any:
    """Cells as words, NaN where one is empty; whole numbers as such, even where an empty cell made them floats."""
    if pd.api.types.is_float_dtype(cells) and (cells.dropna() % 1 == 0).all():
        cells = cells.astype("Int64")
    return cells.astype(object).where(cells.notna(), np.nan).map(str, na_action="ignore").astype(object)


def numbered(words: Any, classes: Sequence[str]) -> Tensor:
    """The numbers of classes, (N,)."""
    return torch.from_numpy(pd.Categorical(words, list(classes)).codes.astype(np.int64))


def opened(path: str, key: str, needed: Sequence[str]) -> Any:
    """A `.csv` or `.parquet` file.

    Args:
        path: of the file.
        key: that gives the path, for messages.
        needed: columns that it must have.

    Raises:
        InputError: no such file or column, one that cannot be read, or no rows.
    """
    reader = _READERS.get(Path(path).suffix)
    if reader is None:
        raise InputError(f"target.data.{key}={path}: a file that ends in {' or '.join(_READERS)}")
    if not Path(path).is_file():
        raise InputError(f"target.data.{key}={path}: there is no such file")
    try:
        frame = reader(path)
    except (ValueError, OSError) as error:  # among them the parsers' own and those of the encoding
        raise InputError(f"{path} cannot be read: {first_line(error)}") from error
    for column in needed:
        if column not in frame:
            raise unknown(f"column of {path}", column, map(str, frame.columns))
    if not len(frame):
        raise InputError(f"{path} holds no rows")
    return frame


def numbers(frame: Any, column: str, path: str) -> Any:
    """A column of float64, NaN where a cell is empty.

    Raises:
        InputError: a cell holds no number, or an infinite one.
    """
    found = pd.to_numeric(frame[column], errors="coerce").astype(np.float64)
    wrong = ((found.isna() & frame[column].notna()) | np.isinf(found)).to_numpy()
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(
            f"{path}, row {row + 1} has '{frame[column].iloc[row]}' in column '{column}', which is no number: correct "
            "it, or name the column in target.data.categorical"
        )
    return found


def predicted(frame: Any, labels: Sequence[str], path: str) -> Tensor:
    """Numbers (N,) of one column, (N, K) of several, NaN where a cell is empty.

    Raises:
        InputError: as `numbers`.
    """
    values = np.stack([numbers(frame, column, path).to_numpy(np.float32) for column in labels], 1)
    return torch.from_numpy(values if len(labels) > 1 else values[:, 0].copy())
