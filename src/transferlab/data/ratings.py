"""Ratings: who gave which item how much."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from transferlab.data.cells import absent, row_hashes, written
from transferlab.data.duplicates import Identities
from transferlab.data.samples import InMemory, Splits
from transferlab.errors import InputError, unknown
from transferlab.inputs.base import Input, expect
from transferlab.inputs.ids import IdsInput


@dataclass(frozen=True)
class Ratings:
    """Rows of users and items in their tables, (N, 2) int64, and ratings (N,).

    Attributes:
        ids: a user and an item for each rating.
        y: ratings; NaN where one is missing.
        users: how many there are, of all files that were read.
        items: likewise.
        names: a hash of the names of each rating's user and item, (N, 1): rows differ from set to set.
    """

    ids: Tensor
    y: Tensor
    users: int
    items: int
    names: Identities

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        index = torch.as_tensor(indices)
        return self.ids[index], self.y[index]

    def take(self, indices: Tensor) -> "Ratings":  # noqa: D102
        return replace(self, ids=self.ids[indices], y=self.y[indices], names=self.names[indices.numpy()])

    def relabelled(self, y: Tensor) -> "Ratings":  # noqa: D102
        return replace(self, y=y)

    def prepared(self, input: Input) -> "Ratings":  # noqa: D102
        tables = expect(input, IdsInput, "ratings", "choose backbone=embeddings")
        if tables.users < self.users or tables.items < self.items:
            raise InputError(
                f"the ratings are of {self.users} users and {self.items} items, backbone.input has rows for "
                f"{tables.users} and {tables.items}; set backbone.input.users={self.users} "
                f"backbone.input.items={self.items}"
            )
        return self

    def identities(self) -> Identities:
        """Of the names."""
        return self.names

    def fingerprint(self) -> str:  # noqa: D102
        return InMemory(self.ids, self.y).fingerprint()


def ratings(
    path: str,
    user: str | int,
    item: str | int,
    rating: str | int,
    time: str | int | None,
    latest: float,
    separator: str,
    header: bool,
    before: Sequence[str],
) -> Splits:
    """Read a table of ratings, one a line.

    A user's or an item's row is its place among those seen so far, in the files of `before` and then in this one. A
    source and a target that are given the same files before them have the same rows for the same users and items.

    Args:
        path: of the file.
        user: the column of users, of any names; by its name, or by its place from 0 where the file has no header.
        item: likewise of items.
        rating: likewise of ratings; an empty cell is a missing one.
        time: likewise of when it was given, a number or a date; None: the test split is none of this reader's.
        latest: share of the ratings, the last ones by time, that are the test split.
        separator: between the columns.
        header: whether the first line names the columns.
        before: files of ratings with the same columns, whose users and items come first.

    Raises:
        InputError: no such file or column, a cell that is empty or no number, or a split without ratings.
    """
    tables = [_table(file, [user, item], separator, header) for file in (*before, path)]
    table = tables[-1]
    users, user_rows = _numbered([rows[user] for rows in tables])
    items, item_rows = _numbered([rows[item] for rows in tables])
    ids = torch.from_numpy(np.stack([user_rows, item_rows], 1))
    y = torch.from_numpy(_numbers(table, rating, path).astype(np.float32))
    names = row_hashes(table[[user, item]])
    read = Ratings(ids, y, users, items, names)
    if time is None:
        return Splits(read, None, (str(rating),))
    if not 0 < latest < 1 or not 0 < (held := round(latest * len(read))) < len(read):
        raise InputError(
            f"target.data.latest={latest} of {len(read)} ratings leaves a split without any; choose another"
        )
    order = torch.from_numpy(np.argsort(_times(table, time, path), kind="stable"))
    return Splits(read.take(order[:-held]), read.take(order[-held:]), (str(rating),))


def _table(path: str, columns: Sequence[str | int], separator: str, header: bool) -> pd.DataFrame:
    if not Path(path).is_file():
        raise InputError(f"target.data.path={path}: there is no such file")
    try:
        engine: Any = "python" if len(separator) > 1 else "c"
        table = written(path, sep=separator, header=0 if header else None, engine=engine)
    except (ValueError, OSError) as error:
        raise InputError(f"{path} is no table with '{separator}' between its columns: {error}") from error
    for column in columns:
        _check_column(table, column, path)
        if table[column].isna().any():
            raise InputError(f"{path}: row {_first(table[column].isna()) + 1} has no '{column}'; fill or remove it")
    if table.empty:
        raise InputError(f"{path} holds no ratings")
    return table


def _check_column(table: pd.DataFrame, column: str | int, path: str) -> None:
    if column not in table.columns:
        raise unknown(f"column of {path}", str(column), map(str, table.columns))


def _numbers(table: pd.DataFrame, column: str | int, path: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A column of numbers, NaN where a cell is empty or says so."""
    _check_column(table, column, path)
    numbers = pd.to_numeric(table[column], errors="coerce")
    wrong = (numbers.isna() & ~absent(table[column])) | numbers.isin([np.inf, -np.inf])
    if wrong.any():
        row = _first(wrong)
        raise InputError(
            f"{path}: row {row + 1} has '{table[column].iloc[row]}' in '{column}', where a number is expected"
        )
    return np.asarray(numbers, np.float64)


def _times(table: pd.DataFrame, column: str | int, path: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A column of numbers or dates, as numbers."""
    _check_column(table, column, path)
    times = pd.to_numeric(table[column], errors="coerce")
    if times.isna().any():
        times = pd.to_datetime(table[column], errors="coerce")
    if times.isna().any():
        row = _first(times.isna())
        raise InputError(f"{path}: row {row + 1} has '{table[column].iloc[row]}' in '{column}', no number and no date")
    return np.asarray(times.astype("int64") if times.dtype.kind == "M" else times, np.float64)


def _numbered(columns: Sequence["pd.Series[str]"]) -> tuple[int, np.ndarray[Any, np.dtype[np.int64]]]:
    """How many names the columns have, and the last column's as numbers, in the order in which they appear."""
    numbers, names = pd.factorize(pd.concat(columns))
    return len(names), np.asarray(numbers[-len(columns[-1]) :], np.int64)


def _first(wrong: "pd.Series[bool]") -> int:
    """The place of the first row that is wrong."""
    return int(np.flatnonzero(wrong)[0])
