"""A user's own tables, in CSV or Parquet files."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from transferlab.data import cells
from transferlab.data.labels import check_known, ordered
from transferlab.data.samples import Splits
from transferlab.data.tables import REFUSE, Encoding, Table
from transferlab.errors import InputError


def table(
    path: str,
    test: str | None,
    label: str | Sequence[str],
    numbers: bool,
    drop: Sequence[str],
    categorical: Sequence[str] | Mapping[str, Sequence[str]] | None,
    missing: str,
    scale: str,
) -> Splits:
    """Read tables, `.csv` or `.parquet`; all columns but the labels and those dropped are inputs.

    Args:
        path: the training split.
        test: the test split; None: it is cut from training.
        label: the column of classes. Several are numbers to predict, or labels of 0 and 1.
        numbers: whether a single column holds numbers to predict too.
        drop: columns that are left out, such as names of rows.
        categorical: columns of categories; None: all that hold anything but numbers in the training split. A mapping
            lists the categories of each, null being the empty cell; otherwise they are those that the training rows
            of a run have.
        missing: see `Encoding`.
        scale: see `Encoding`.

    A row whose class is empty is left out and counted; a number that is empty, or says NA or the like, is a missing
    label. Among words NA is one.

    Raises:
        InputError: a file or column that is missing, a cell that is no number where one must be, a class only in the
            test split, or no rows.
    """
    labels = [label] if isinstance(label, str) else list(label)
    listed = categorical if isinstance(categorical, Mapping) else {}
    known = {column: ["" if name is None else cells.word(name) for name in names] for column, names in listed.items()}
    encoding = Encoding(missing, scale, known)
    first = cells.opened(path, "path", [*labels, *drop, *(categorical or [])])
    inputs = [column for column in first if column not in {*labels, *drop}]
    if not inputs:
        raise InputError(f"{path} has no columns but labels and those in target.data.drop={list(drop)}")
    if categorical is None:
        categorical = [column for column in inputs if not cells.are_numbers(first[column], path)]
    files = {path: first} | ({test: cells.opened(test, "test", [*labels, *inputs])} if test is not None else {})
    frames = {file: _inputs(frame, inputs, set(categorical), missing, file) for file, frame in files.items()}
    wholes = {file: cells.row_hashes(frame) for file, frame in files.items()}
    if numbers or len(labels) > 1:
        predicted = {file: cells.predicted(frame, labels, file) for file, frame in files.items()}
        tables = [Table(frames[file], y, encoding, whole=wholes[file]) for file, y in predicted.items()]
        return Splits(tables[0], tables[1] if test is not None else None, tuple(labels))
    words = {file: cells.as_words(frame[labels[0]]) for file, frame in files.items()}
    classes = ordered(words[path].dropna())
    for file, found in words.items():
        check_known(found.dropna(), classes, file, path)
    named = {file: found.notna().to_numpy() for file, found in words.items()}
    every = {
        file: Table(frames[file], cells.numbered(words[file], classes), encoding, whole=wholes[file]) for file in files
    }
    tables = [part.take(torch.from_numpy(np.flatnonzero(named[file]))) for file, part in every.items()]
    left_out = sum(int((~rows).sum()) for rows in named.values())
    return Splits(tables[0], tables[1] if test is not None else None, classes, left_out)


def _inputs(frame: Any, columns: Sequence[str], categorical: set[str], missing: str, path: str) -> Any:
    remedy = "correct it, or name the column in target.data.categorical"
    read = {c: cells.as_words(frame[c]) if c in categorical else cells.numbers(frame, c, path, remedy) for c in columns}
    if missing == REFUSE:
        for column, found in read.items():
            if (empty := found.isna().to_numpy()).any():
                raise InputError(
                    f"{path}, row {int(empty.argmax()) + 1} has nothing in column '{column}': fill it, or set "
                    "target.data.missing, e.g. to mean"
                )
    return pd.DataFrame(read)
