"""A user's own files as a table lists them: how it is read, and images by it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Listed:
    """What a manifest lists.

    Attributes:
        files: N of them.
        y: classes (N,), -1 where a cell is empty; numbers (N,) or (N, K) or labels of 0 and 1 (N, L), NaN likewise.
        tested: which are the test split, (N,).
        classes: names of the classes or outputs.
    """

    files: Sequence[str]
    y: Tensor
    tested: Any
    classes: tuple[str, ...]

    def splits(self, path: str, samples: Callable[[Sequence[str], Tensor], Samples]) -> Splits:
        """Both splits, without files that have no class.

        Args:
            path: of the manifest, for messages.
            samples: makes them of files and labels.

        Raises:
            InputError: there is nothing to train on.
        """
        unlabelled = np.zeros(len(self.y), bool) if self.y.is_floating_point() else self.y.numpy() < 0
        train, test = (np.flatnonzero(rows & ~unlabelled) for rows in (~self.tested, self.tested))
        if not len(train):
            raise InputError(f"{path} lists no labelled files to train on")
        held = [
            samples([self.files[row] for row in rows.tolist()], self.y[torch.from_numpy(rows)])
            for rows in (train, test)
        ]
        return Splits(held[0], held[1] if len(test) else None, self.classes, int(unlabelled.sum()))


def listed(
    path: str,
    root: str | None,
    file: str,
    label: str | Sequence[str],
    numbers: bool,
    separator: str | None,
    split: str | None,
) -> Listed:
    """Read a `.csv` or `.parquet` that lists labelled files, one a row.

    Args:
        path: the table.
        root: the folder that its paths start from; None: the table's own.
        file: the column of paths.
        label: the column of classes. Several are labels of 0 and 1, or numbers to predict.
        numbers: whether a single column holds numbers to predict too.
        separator: what stands between the names in a cell that names several labels; None: a cell is one class.
        split: the column that says `train` or `test`; None: there is none, and test samples are cut from training.

    Raises:
        InputError: no such file or column, an empty cell, a file that is missing, a class only in the test split.
    """
    columns = [label] if isinstance(label, str) else list(label)
    frame = cells.opened(path, "path", [file, *columns, *([split] if split else [])])
    files = _files(frame, file, Path(root) if root else Path(path).parent, path)
    tested = _tested(frame, split, path)
    if numbers or len(columns) > 1:
        return Listed(files, cells.predicted(frame, columns, path), tested, tuple(columns))
    words = cells.as_words(frame[columns[0]]).map(str.strip, na_action="ignore").replace("", np.nan)
    y, classes = _one(words, tested, path) if separator is None else _several(words, separator, tested, path)
    return Listed(files, y, tested, classes)


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
        path: see `listed`, as are all but the last.
        root: likewise.
        file: likewise.
        label: likewise.
        numbers: likewise.
        separator: likewise.
        split: likewise.
        in_memory: decode and resize once, at the start.

    A row whose class is empty is left out and counted; of several labels or numbers an empty cell is a missing one.

    Raises:
        InputError: as `listed`.
    """

    def images(files: Sequence[str], y: Tensor) -> Samples:
        read = Images.of(Opened(files), files, y)
        return Cached(read) if in_memory else read

    return listed(path, root, file, label, numbers, separator, split).splits(path, images)


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
    if (empty := frame[column].isna().to_numpy()).any():
        raise InputError(f"{path}, row {int(empty.argmax()) + 1} has nothing in column '{column}'; fill or remove it")
    return [str(word).strip() for word in frame[column]]


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
