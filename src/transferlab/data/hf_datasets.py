"""Texts of Hugging Face's `datasets`: from the hub, its cache here, or a folder."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from transferlab.data import cells
from transferlab.data.samples import Splits
from transferlab.data.text_splits import Read, row, text_splits
from transferlab.errors import InputError, unknown
from transferlab.extras import library
from transferlab.inputs.origins import first_line


def hf_dataset(
    path: str,
    name: str | None,
    train: str,
    test: str | None,
    text: str | Sequence[str],
    label: str | Sequence[str],
    numbers: bool,
    cache: str | None,
) -> Splits:
    """Read a labelled set of texts.

    Args:
        path: id on the hub, or a folder: of data files, or written by `save_to_disk`.
        name: of the set's configuration, e.g. `sst2` of `glue`; None: it has one.
        train: its training split.
        test: its test split, which must be labelled; None: cut from training.
        text: the column of texts, or two columns, whose texts are read as pairs.
        label: the column of classes. Several are labels of 0 and 1, or numbers to predict.
        numbers: whether a single column holds numbers to predict too; an empty cell is then a missing label. A row
            whose class is empty, or -1 where the set names its classes, is left out and counted.
        cache: the folder for tokens, or None.

    Raises:
        InputError: `datasets` is not installed, or there is no such set, split, column or label.
    """
    columns = [text] if isinstance(text, str) else list(text)
    labels = [label] if isinstance(label, str) else list(label)
    if not 1 <= len(columns) <= 2:
        raise InputError(f"target.data.text={columns}: one column, or two for pairs of texts")
    found = _loaded(path, name)
    wanted = [train] if test is None else [train, test]
    for split in wanted:
        if split not in found:
            raise unknown(f"split of {path}", split, found)
    for column in (*columns, *labels):
        if column not in found[train].column_names:
            raise unknown(f"column of {path}", column, found[train].column_names)
    predicted = numbers or len(labels) > 1
    names = [] if predicted else getattr(found[train].features[labels[0]], "names", None) or []
    parts = [_read(found[split], f"{path}:{split}", columns, labels, predicted, names) for split in wanted]
    return text_splits(parts[0], parts[1] if test is not None else None, labels if predicted else names, cache)


def _loaded(path: str, name: str | None) -> Any:
    """The splits by name."""
    datasets = library("datasets", "target.data reads Hugging Face's datasets", "datasets")
    try:
        if (Path(path) / "dataset_dict.json").is_file():
            return datasets.load_from_disk(path)
        return datasets.load_dataset(path, name)
    except Exception as error:  # each way in which a set cannot be had has an error of its own
        where = f"{path} ({name})" if name else path
        raise InputError(
            f"target.data.path={where} cannot be read: {first_line(error)}; check path and name, or download it where "
            "there is a connection and give its folder"
        ) from error


def _read(
    split: Any, origin: str, columns: Sequence[str], labels: Sequence[str], numbers: bool, names: Sequence[str]
) -> Read:
    # objects, as whole numbers beside a missing one would become floats
    frame = pd.DataFrame({column: pd.Series(list(split[column]), dtype=object) for column in (*columns, *labels)})
    rows = list(range(len(frame))) if numbers else _labelled(frame[labels[0]], names, origin)
    found = cells.predicted(frame, labels, origin) if numbers else _classes(frame[labels[0]].iloc[rows], names)
    place = partial(row, origin, rows)
    texts = [frame[column].iloc[rows].tolist() for column in columns]
    for column, given in zip(columns, texts, strict=True):
        if None in given:
            raise InputError(f"{place(given.index(None))} has nothing in column '{column}'; fill or remove it")
    return Read(texts[0], texts[1] if len(texts) == 2 else None, found, place, origin, len(frame) - len(rows))


def _labelled(given: Any, names: Sequence[str], origin: str) -> list[int]:
    """The rows that have a class."""
    rows: list[int] = np.flatnonzero(given.notna() & (given != -1) if names else given.notna()).tolist()
    if len(given) and not rows:
        raise InputError(f"{row(origin, [0], 0)} has no label, as hidden test splits do; set target.data.test")
    return rows


def _classes(given: Any, names: Sequence[str]) -> list[str]:
    if names:
        return [names[one] for one in given]
    return [one if isinstance(one, str) else cells.word(one) for one in given]
