"""A user's own texts: tables with a column of texts, or one file a text in one folder a class."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from transferlab.data import cells
from transferlab.data.samples import Splits
from transferlab.data.text_splits import Read, read_file, row, text_splits, undecodable
from transferlab.errors import InputError, unknown

_FORMATS = (".csv", ".tsv", ".jsonl")


def text_file(
    path: str,
    test: str | None,
    text: str | Sequence[str],
    label: str | Sequence[str],
    numbers: bool,
    encoding: str,
    cache: str | None,
) -> Splits:
    """Read tables of texts: `.csv`, `.tsv`, or `.jsonl` with one object a line.

    Args:
        path: the training split.
        test: the test split; None: it is cut from training.
        text: the column of texts, or two columns, whose texts are read as pairs.
        label: the column of classes. Several are labels of 0 and 1, or numbers to predict.
        numbers: whether a single column holds numbers to predict too; an empty cell is then a missing label. A row
            whose class is empty is left out and counted.
        encoding: of the files.
        cache: the folder for tokens, or None.

    Raises:
        InputError: a file, column, cell or class that is missing, a file that cannot be read, no number where one
            must be.
    """
    columns = [text] if isinstance(text, str) else list(text)
    labels = [label] if isinstance(label, str) else list(label)
    if not 1 <= len(columns) <= 2:
        raise InputError(f"target.data.text={columns}: one column, or two for pairs of texts")
    predicted = numbers or len(labels) > 1
    given = {"target.data.path": path} | ({"target.data.test": test} if test is not None else {})
    parts = [
        read_table(Path(file), key, columns, labels, predicted, encoding, not predicted) for key, file in given.items()
    ]
    outputs = labels if predicted else []
    return text_splits(parts[0], parts[1] if test is not None else None, outputs, cache)


def text_folder(root: str, train: str | None, test: str | None, encoding: str, cache: str | None) -> Splits:
    """Read `root/train/CLASS/*.txt` and `root/test/CLASS/*.txt`, or `root/CLASS/*.txt` with `train: null`.

    Args:
        root: the folder.
        train: sub-folder of the training texts; None if `root` itself holds the classes.
        test: sub-folder of the test texts; where there is none, test samples are cut from training.
        encoding: of the files.
        cache: the folder for tokens, or None.

    Raises:
        InputError: a folder is missing or empty, or the test split has a class that training lacks.
    """
    base = Path(root) / train if train else Path(root)
    if not base.is_dir():
        raise InputError(f"target.data.root={root}: there is no folder {base}; set root, or train=null")
    held = Path(root) / test if train and test else None
    read = _folder(base, encoding)
    return text_splits(read, _folder(held, encoding) if held is not None and held.is_dir() else None, [], cache)


def _folder(base: Path, encoding: str) -> Read:
    files = sorted(file for file in base.glob("*/**/*.txt") if file.is_file())
    if not files:
        raise InputError(f"{base} holds no texts: CLASS/*.txt is expected")
    texts = [read_file(file, encoding, "target.data.root") for file in files]
    classes = [file.relative_to(base).parts[0] for file in files]
    return Read(texts, None, classes, [str(file) for file in files].__getitem__, str(base))


def read_table(
    path: Path,
    key: str,
    columns: Sequence[str],
    labels: Sequence[str],
    numbers: bool,
    encoding: str,
    leave_out: bool,
) -> Read:
    """One table of texts and labels.

    Args:
        path: of the file.
        key: what sets the path, for messages.
        columns: one of texts, or two for pairs.
        labels: the column of classes, or those of numbers.
        numbers: whether labels are numbers.
        encoding: of the file.
        leave_out: whether rows without a label are left out and counted, in place of an error.

    Raises:
        InputError: as `text_file`.
    """
    frame = _frame(path, key, encoding)
    for column in (*columns, *labels):
        if column not in frame.columns:
            raise unknown(f"column of {path}", column, map(str, frame.columns))
    rows = np.flatnonzero(frame[labels[0]].notna()) if leave_out else np.arange(len(frame))
    left_out, frame = len(frame) - len(rows), frame.iloc[rows]
    place = partial(row, str(path), rows.tolist())
    texts = [_filled(frame[column], column, place) for column in columns]
    found: Sequence[str] | Tensor = (
        cells.predicted(frame, labels, str(path)) if numbers else _filled(frame[labels[0]], labels[0], place)
    )
    return Read(texts[0], texts[1] if len(texts) == 2 else None, found, place, str(path), left_out)


def _frame(path: Path, key: str, encoding: str) -> Any:
    """All cells as they stand; an empty one is missing, and `NA` or `null` is a word like any other."""
    if path.suffix not in _FORMATS:
        raise InputError(f"{key}={path}: a file that ends in {', '.join(_FORMATS)}")
    if not path.is_file():
        raise InputError(f"{key}={path}: there is no such file")
    try:
        if path.suffix == ".jsonl":
            return pd.read_json(path, lines=True, dtype=False, convert_dates=False, encoding=encoding)
        return cells.written(path, sep="\t" if path.suffix == ".tsv" else ",", encoding=encoding)
    except (UnicodeDecodeError, LookupError) as error:
        raise undecodable(path, encoding, error) from error
    except (ValueError, OSError) as error:  # pandas' own errors of parsing are among them
        raise InputError(f"{path} is no {path.suffix} that can be read: {' '.join(str(error).split())}") from error


def _filled(found: Any, column: str, place: partial[str]) -> list[str]:
    """The cells as they are written; of a `.jsonl`, whose whole numbers are floats beside a null, as words.

    Raises:
        InputError: one is empty.
    """
    if (empty := found.isna().to_numpy()).any():
        raise InputError(f"{place(int(empty.argmax()))} has nothing in column '{column}'; fill or remove it")
    return [cell if isinstance(cell, str) else cells.word(cell) for cell in found]
