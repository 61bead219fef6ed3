"""Rows of numbers and categories, encoded as numbers by what the training rows alone say."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from transferlab.data.duplicates import Identities, as_identities, hashed
from transferlab.data.samples import InMemory, Samples
from transferlab.errors import InputError, unknown
from transferlab.inputs.arrays import ArrayInput
from transferlab.inputs.base import Input

REFUSE = "refuse"
_FILLS = ("mean", "median", "most_frequent")
_SCALES = ("standard", "minmax", "none")


@dataclass(frozen=True)
class Encoding:
    """How a row becomes numbers.

    Args:
        missing: what an empty cell among numbers becomes: the `mean`, `median` or `most_frequent` number of its column;
            `refuse`: none may be empty. An empty cell among categories is a category of its own, '', and like others
            all 0 where it is not listed or, where none are, not in training.
        scale: of a column of numbers: `standard`: mean 0 and deviation 1; `minmax`: from 0 to 1; `none`: as it is. A
            column of categories becomes one of 0 and 1 for each category.
        categories: of each column that has some; where a column has none here, those in the training rows.

    Raises:
        InputError: an unknown word.
    """

    missing: str
    scale: str
    categories: Mapping[str, Sequence[str]]

    def __post_init__(self) -> None:
        if self.missing not in (*_FILLS, REFUSE):
            raise unknown("target.data.missing", self.missing, (*_FILLS, REFUSE))
        if self.scale not in _SCALES:
            raise unknown("target.data.scale", self.scale, _SCALES)

    def fitted(self, frame: Any) -> Any:
        """scikit-learn's transformer, fitted on these rows."""
        from sklearn.compose import ColumnTransformer
        from sklearn.impute import SimpleImputer
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

        scaler = {"standard": StandardScaler(), "minmax": MinMaxScaler(), "none": "passthrough"}[self.scale]
        fill = "mean" if self.missing == REFUSE else self.missing  # with nothing to fill
        numbers = make_pipeline(SimpleImputer(strategy=fill, keep_empty_features=True), scaler)
        held = _numeric(frame)
        others = [column for column in frame if column not in held]
        known = [self.categories.get(column) or sorted(frame[column].fillna("").unique()) for column in others]
        words = make_pipeline(
            SimpleImputer(strategy="constant", fill_value=""),
            OneHotEncoder(categories=known or "auto", handle_unknown="ignore", sparse_output=False),
        )
        return ColumnTransformer([("numbers", numbers, held), ("words", words, others)]).fit(frame)


@dataclass(frozen=True, eq=False)
class Table:
    """Labelled rows.

    Attributes:
        frame: a column of float64 for each of numbers, of words for each of categories; NaN where a cell is empty.
        y: labels (N, ...).
        encoding: how rows become numbers.
        encoder: a transformer that has seen training rows; None: not yet.
        whole: hashes of each row as its file has it, with labels and columns that are no input here, (N, k): the same
            row is another input where another column is the label. None: there is no more than `frame`.
    """

    frame: Any
    y: Tensor
    encoding: Encoding
    encoder: Any = None
    whole: Identities | None = None

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        raise TypeError("rows are no batch for a net: call `fitted_on` and `prepared` first")

    def take(self, indices: Tensor) -> "Table":  # noqa: D102
        whole = None if self.whole is None else self.whole[indices.numpy()]
        return replace(self, frame=self.frame.iloc[indices.numpy()], y=self.y[indices], whole=whole)

    def relabelled(self, y: Tensor) -> "Table":  # noqa: D102
        return replace(self, y=y)

    def hidden(self, share: float, seed: int) -> "Table":
        """The same rows with each cell emptied with the probability `share`.

        Raises:
            InputError: empty cells are refused.
        """
        if self.encoding.missing == REFUSE:
            raise InputError(f"target.missing_values={share} empties cells: set target.data.missing, e.g. to mean")
        emptied = np.random.default_rng(seed).random(self.frame.shape) < share
        return replace(self, frame=self.frame.mask(emptied), whole=self.identities())

    def fitted_on(self, train: Samples) -> "Table":
        """The same rows, encoded by what other rows say.

        Args:
            train: rows; their own transformer where they have one, else one that is fitted on them.

        Raises:
            InputError: they are no table, or one of other columns.
        """
        if not isinstance(train, Table):
            raise InputError("a table is encoded by what another table says, and source and target are not both one")
        ours, theirs = ({column: column in _numeric(t.frame) for column in t.frame} for t in (self, train))
        if ours != theirs:
            differ = sorted(str(column) for column, _ in set(ours.items()) ^ set(theirs.items()))
            raise InputError(
                f"two tables have different columns or kinds of columns ({', '.join(differ)}): give both the same, by "
                "target.data.drop and target.data.categorical"
            )
        return replace(self, encoder=train.encoder or train.encoding.fitted(train.frame))

    def prepared(self, input: Input) -> InMemory:  # noqa: D102
        if self.encoder is None:
            raise RuntimeError("rows are encoded after `fitted_on(train)`")
        x = torch.from_numpy(self.encoder.transform(self.frame).astype(np.float32))
        if (
            isinstance(input, ArrayInput)
            and list(input.shape) != [x.shape[1]]
            and len(_numeric(self.frame)) < len(self.frame.columns)
        ):
            raise InputError(
                f"the columns are {x.shape[1]} inputs, each category one, backbone.input.shape={list(input.shape)}: "
                f"set backbone.input.shape=[{x.shape[1]}]; where other rows train on other categories, list these in "
                "target.data.categorical={column: [a, b]}"
            )
        return InMemory(x, self.y).prepared(input)

    def digests(self) -> list[bytes]:
        """Of each row."""
        return [row.tobytes() for row in pd.util.hash_pandas_object(self.frame, index=False).to_numpy()]

    def identities(self) -> Identities:
        """Of the inputs, numbers alone as an array of them has them; and of the whole rows."""
        numbers = len(_numeric(self.frame)) == len(self.frame.columns)
        rows = map(hashed, self.frame.to_numpy(np.float32)) if numbers else self.digests()
        inputs = as_identities(list(rows))
        return inputs if self.whole is None else np.concatenate([inputs, self.whole], 1)

    def place(self, index: int) -> str:
        """The row of a file that a sample was, from 1."""
        return f"row {int(self.frame.index[index]) + 1}"

    def fingerprint(self) -> str:  # noqa: D102
        digest = hashlib.blake2b(" ".join(map(str, self.frame.columns)).encode(), digest_size=8)
        digest.update(b"".join(self.digests()))
        digest.update(self.y.contiguous().numpy().tobytes())
        return digest.hexdigest()


def _numeric(frame: Any) -> list[Any]:
    return [column for column in frame if frame[column].dtype == np.float64]
