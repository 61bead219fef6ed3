"""A user's own images as a table lists them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from transferlab.data import cells
from transferlab.data.images import Cached, Images, Opened
from transferlab.data.labels import check_known, ordered
from transferlab.data.samples import Samples, Splits
from transferlab.errors import InputError


def image_manifest(
    path: str,
    root: str | None,
    file: str,
    label: str | Sequence[str],
    numbers: bool,
    separator: str | None,
    split: str | None,
    in_memory: bool,
) -> Splits:
    """Read the images that a `.csv` or `.parquet` lists, one a row.

    Args:
        path: the table.
        root: the folder that its paths start from; None: the table's own.
        file: the column of paths.
        label: the column of classes. Several are labels of 0 and 1, or numbers to predict.
        numbers: whether a single column holds numbers to predict too.
        separator: what stands between the names in a cell that names several labels; None: a cell is one class.
        split: the column that says `train` or `test`; None: there is none, and test samples are cut from training.
        in_memory: decode and resize once, at the start.

    A row whose class is empty is left out and counted; of several labels or numbers an empty cell is a missing one.

    Raises:
        InputError: no such file or column, an empty cell, an image that is missing, a class only in the test split.
    """
    columns = [label] if isinstance(label, str) else list(label)
    frame = cells.opened(path, "path", [file, *columns, *([split] if split else [])])
    files = _files(frame, file, Path(root) if root else Path(path).parent, path)
    tested = _tested(frame, split, path)
    if numbers or len(columns) > 1:
        y, classes = cells.predicted(frame, columns, path), tuple(columns)
    elif separator is not None:
        y, classes = _several(cells.as_words(frame[columns[0]]), separator, tested, path)
    else:
        y, classes = _one(cells.as_words(frame[columns[0]]), tested, path)
    labelled = y.numpy() >= 0 if not y.is_floating_point() else np.ones(len(y), bool)
    train, test = (_images(files, y, np.flatnonzero(rows & labelled), in_memory) for rows in (~tested, tested))
    if not len(train):
        raise InputError(f"{path} lists no labelled images to train on")
    return Splits(train, test if len(test) else None, classes, int((~labelled).sum()))


def _files(frame: Any, column: str, base: Path, path: str) -> list[str]:
    found = []
    for row, name in enumerate(_filled(frame, column, path), start=1):
        if not (base / name).is_file():
            raise InputError(f"{path}, row {row}: there is no file {base / name}; correct the row or set root")
        found.append(str(base / name))
    return found


def _tested(frame: Any, column: str | None, path: str) -> Any:
    """Which rows are the test split, (N,)."""
    if column is None:
        return np.zeros(len(frame), bool)
    words = _filled(frame, column, path)
    for row, word in enumerate(words, start=1):
        if word not in ("train", "test"):
            raise InputError(f"{path}, row {row}: column '{column}' says '{word}'; it says train or test")
    return np.array([word == "test" for word in words])


def _filled(frame: Any, column: str, path: str) -> list[str]:
    words = cells.as_words(frame[column])
    if (empty := words.isna().to_numpy()).any():
        raise InputError(f"{path}, row {int(empty.argmax()) + 1} has nothing in column '{column}'; fill or remove it")
    return [str(word).strip() for word in words]


def _one(words: Any, tested: Any, path: str) -> tuple[Tensor, tuple[str, ...]]:
    """Classes (N,), -1 where a cell is empty, and their names."""
    classes = ordered(words[~tested].dropna())
    check_known(words[tested].dropna(), classes, f"the test split of {path}", "its training split")
    return cells.numbered(words, classes), classes


def _several(words: Any, separator: str, tested: Any, path: str) -> tuple[Tensor, tuple[str, ...]]:
    """Labels of 0 and 1 (N, L), NaN in rows whose cell is empty, and their names."""
    named = [None if word != word else {part.strip() for part in word.split(separator)} - {""} for word in words]
    used = [
        [name for one, out in zip(named, tested == part, strict=True) if out and one for name in one]
        for part in (False, True)
    ]
    classes = ordered(used[0])
    check_known(used[1], classes, f"the test split of {path}", "its training split")
    rows = [[np.nan if one is None else float(name in one) for name in classes] for one in named]
    return torch.tensor(rows, dtype=torch.float32), classes


def _images(files: Sequence[str], y: Tensor, rows: Any, in_memory: bool) -> Samples:
    chosen = [files[row] for row in rows]
    images = Images.of(Opened(chosen), chosen, y[torch.from_numpy(rows)])
    return Cached(images) if in_memory else images
