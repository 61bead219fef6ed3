"""Columns of rows in files: written batch by batch, read as memory maps."""

import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from transferlab.cache.packing import Leaf, UncacheableError
from transferlab.values import Seq

_CHUNK = 1 << 24


class Writer:
    """Writes one column: `NAME.rows`, and for sequences `NAME.ends`, where each ends.

    Args:
        folder: that it lies in.
        name: of its files.
        kind: of its floating-point numbers in the file; None: as they come.
    """

    def __init__(self, folder: Path, name: str, kind: torch.dtype | None) -> None:
        self._folder, self._name, self._kind = folder, name, kind
        self._file: BinaryIO = (folder / f"{name}.rows").open("wb")
        self._ends: list[Tensor] = []
        self._total, self._sum = 0, 0
        self._form: dict[str, Any] = {}

    def add(self, leaf: Leaf) -> None:
        """Write a batch's rows.

        Raises:
            UncacheableError: they are of another shape than those before.
        """
        rows = (leaf.h[leaf.mask.bool()] if isinstance(leaf, Seq) else leaf).detach().cpu()
        given = _name(rows.dtype)
        if self._kind is not None and rows.is_floating_point():
            rows = rows.to(self._kind)
        form = {
            "given": given,
            "dtype": _name(rows.dtype),
            "shape": list(rows.shape[1:]),
            "ragged": isinstance(leaf, Seq),
        }
        self._form = self._form or form
        if form != self._form:
            raise UncacheableError(
                f"its activations are of {form['shape']} in one batch, {self._form['shape']} in another"
            )
        if isinstance(leaf, Seq):
            self._ends.append(self._total + leaf.mask.sum(1).cumsum(0).cpu())
        self._total += len(rows)
        content = rows.contiguous().reshape(-1).view(torch.uint8).numpy().data
        self._sum = zlib.crc32(content, self._sum)
        self._file.write(content)

    def close(self) -> dict[str, Any]:
        """End the column; what a reader must know of it."""
        self._file.close()
        found = {"name": self._name, **self._form, "total": self._total, "sum": self._sum}
        if self._form.get("ragged"):
            ends = torch.cat(self._ends).numpy().astype("<i8").tobytes()
            (self._folder / f"{self._name}.ends").write_bytes(ends)
            found["ends_sum"] = zlib.crc32(ends)
        return found


class Column:
    """Reads what a `Writer` wrote.

    Args:
        folder: that it lies in.
        form: what the writer said of it.
    """

    def __init__(self, folder: Path, form: dict[str, Any]) -> None:
        self.shape, self.ragged = tuple(form["shape"]), bool(form["ragged"])
        kind, self._given = getattr(torch, form["dtype"]), getattr(torch, form["given"])
        count = form["total"] * int(np.prod(self.shape, dtype=np.int64))
        file = str(folder / f"{form['name']}.rows")
        flat = torch.from_file(file, shared=False, size=count, dtype=kind) if count else torch.empty(0, dtype=kind)
        self._rows = flat.reshape(form["total"], *self.shape)
        if self.ragged:
            ends = np.fromfile(folder / f"{form['name']}.ends", "<i8")
            self._starts = torch.from_numpy(np.concatenate([[0], ends]))

    def fetch(self, rows: Tensor) -> Leaf:
        """The samples of these rows (n,), of the kind that they were: (n, ...), or a padded sequence."""
        if not self.ragged:
            return self._rows.index_select(0, rows).to(self._given)  # half the time of self._rows[rows]
        starts = self._starts[rows]
        lengths = self._starts[rows + 1] - starts
        steps = torch.arange(int(lengths.max()) if len(rows) else 0)
        mask = steps < lengths[:, None]
        h = self._rows.new_zeros((*mask.shape, *self.shape))
        h[mask] = self._rows[(starts[:, None] + steps)[mask]]
        return Seq(h.to(self._given), mask)


def _name(kind: torch.dtype) -> str:
    return str(kind).removeprefix("torch.")


def merged(leaves: Sequence[Leaf], places: Sequence[Tensor]) -> Leaf:
    """One batch of parts that lie at `places` (n_i,) of it."""
    if len(leaves) == 1:
        return leaves[0]
    count = sum(len(one) for one in places)
    if isinstance(leaves[0], Tensor):
        whole = leaves[0].new_empty((count, *leaves[0].shape[1:]))
        for leaf, at in zip(leaves, places, strict=True):
            assert isinstance(leaf, Tensor)
            whole[at] = leaf
        return whole
    sequences = [leaf for leaf in leaves if isinstance(leaf, Seq)]
    longest = max(leaf.mask.shape[1] for leaf in sequences)
    h = sequences[0].h.new_zeros((count, longest, *sequences[0].h.shape[2:]))
    mask = torch.zeros(count, longest, dtype=torch.bool)
    for leaf, at in zip(sequences, places, strict=True):
        h[at, : leaf.mask.shape[1]], mask[at, : leaf.mask.shape[1]] = leaf.h, leaf.mask
    return Seq(h, mask)


def sums(folder: Path, form: dict[str, Any]) -> Iterator[bool]:
    """Whether each file of a column holds what was written."""
    yield _sum(folder / f"{form['name']}.rows") == form["sum"]
    if form["ragged"]:
        yield _sum(folder / f"{form['name']}.ends") == form["ends_sum"]


def _sum(file: Path) -> int:
    found = 0
    with file.open("rb") as content:
        while chunk := content.read(_CHUNK):
            found = zlib.crc32(chunk, found)
    return found
