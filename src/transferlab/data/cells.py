"""Cells of a file's table as words and numbers, with a sentence for whatever is wrong with them."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from transferlab.data.duplicates import Identities
from transferlab.errors import InputError, unknown
from transferlab.inputs.origins import first_line

_NO_NUMBER = frozenset(
    ("NA", "N/A", "n/a", "#NA", "#N/A", "<NA>", "NaN", "nan", "-NaN", "-nan", "NULL", "null", "None", "1.#QNAN")
)
"""Words that say among numbers that there is none, as spreadsheets, R, NumPy and C write it."""
_READERS: dict[str, Callable[[str], Any]] = {".csv": lambda path: written(path), ".parquet": pd.read_parquet}
_TRUTH = {"True": True, "TRUE": True, "true": True, "False": False, "FALSE": False, "false": False}


def word(cell: Any) -> str:
    """A cell as a word, whatever else its column holds: 1, 1.0 and '1.0' are one, and so are true and 'TRUE'."""
    text = str(int(cell)) if isinstance(cell, (float, np.floating)) and cell % 1 == 0 else str(cell)
    return str(_TRUTH.get(text, re.sub(r"^([+-]?\d+)\.0*$", r"\1", text)))


def as_words(cells: Any) -> Any:
    """Cells as words, NaN where one is empty."""
    return cells.astype(object).where(cells.notna(), np.nan).map(word, na_action="ignore").astype(object)


def are_numbers(cells: Any, path: str) -> bool:
    """Whether a column of a file is one of numbers: by its kind in Parquet; all are words in CSV, so by all its cells.

    Cells that are empty, or a word for it, say nothing.
    """
    if Path(path).suffix == ".parquet":
        return bool(pd.api.types.is_numeric_dtype(cells))
    return bool((_parsed(cells).notna() | absent(cells)).all())


def numbered(words: Any, classes: Sequence[str]) -> Tensor:
    """The numbers of classes, (N,)."""
    return torch.from_numpy(pd.Categorical(words, list(classes)).codes.astype(np.int64))


def row_hashes(frame: Any) -> Identities:
    """A hash of each row's cells, (N, 1)."""
    return np.asarray(pd.util.hash_pandas_object(frame, index=False), np.uint64)[:, None]


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


def written(path: str | Path, **options: Any) -> "pd.DataFrame":
    """A `.csv` or the like, its cells as they are written, `NA` and `null` among them; what is empty is missing.

    Args:
        path: of the file.
        options: of `pandas.read_csv`.

    Raises:
        InputError: a row has more cells than the header.
        ValueError, OSError: as pandas raises them.
    """
    frame: pd.DataFrame = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""], **options)
    if not isinstance(frame.index, pd.RangeIndex):  # pandas takes the cells that are too many for names of rows
        raise InputError(f"{path} has rows with more cells than its header: put what holds separators in quotes")
    return frame


def numbers(frame: Any, column: str, path: str, remedy: str = "correct it") -> Any:
    """A column of float64, NaN where a cell is empty or says so.

    Args:
        frame: the table.
        column: its name.
        path: of the table, for messages.
        remedy: what to do about a cell that is no number.

    Raises:
        InputError: a cell holds no number, or an infinite one.
    """
    found = _parsed(frame[column])
    wrong = ((found.isna() & ~absent(frame[column])) | np.isinf(found)).to_numpy()
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(
            f"{path}, row {row + 1} has '{frame[column].iloc[row]}' in column '{column}', which is no number: {remedy}"
        )
    return found


def predicted(frame: Any, labels: Sequence[str], path: str) -> Tensor:
    """Numbers (N,) of one column, (N, K) of several, NaN where a cell is empty.

    Raises:
        InputError: as `numbers`.
    """
    values = np.stack([numbers(frame, column, path).to_numpy(np.float32) for column in labels], 1)
    return torch.from_numpy(values if len(labels) > 1 else values[:, 0].copy())


def _parsed(cells: Any) -> Any:
    """Float64, NaN where a cell is no number; a column of true and false alone is one of 1 and 0."""
    if cells.isin(list(_TRUTH)).all():
        cells = cells.map(_TRUTH)
    return pd.to_numeric(cells, errors="coerce").astype(np.float64)


def absent(cells: Any) -> Any:
    """Which cells among numbers are empty, or say so, (N,)."""
    return cells.isna() | cells.isin(_NO_NUMBER)
