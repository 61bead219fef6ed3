"""Rows that were written together: a folder of columns with the digests of its samples, whole or damaged."""

import json
import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import torch
from torch import Tensor

from transferlab.cache.columns import Column, Writer, merged, sums
from transferlab.cache.packing import Leaf, Plan, put_together, taken_apart

ABOUT = "segment.json"
"""Of a segment's folder: what it holds, and the sums of its files."""
_DIGESTS = "digests"
_log = logging.getLogger(__name__)
_sound: set[tuple[object, ...]] = set()
"""Segments that this process has checked, as they were then."""


@dataclass(frozen=True)
class Segment:
    """Rows that were written together."""

    digests: Sequence[bytes]
    plan: Plan
    columns: Sequence[Column]


class Shelf:
    """The rows of some samples under one key, in the order of these samples.

    Args:
        segments: that hold them.
        digests: of the samples.
    """

    def __init__(self, segments: Sequence[Segment], digests: Sequence[bytes]) -> None:
        self._segments = segments
        places = {one: (number, row) for number, part in enumerate(segments) for row, one in enumerate(part.digests)}
        found = [places.get(one, (-1, -1)) for one in digests]
        self._segment, self._row = torch.tensor(found, dtype=torch.long).reshape(-1, 2).unbind(1)
        self.missing: list[int] = (self._segment < 0).nonzero().flatten().tolist()
        """Positions of the samples that have no row."""

    def fetch(self, positions: Sequence[int] | Tensor) -> Any:
        """The value of a batch: of the samples at these positions, none of them missing."""
        at = torch.as_tensor(positions)
        if len(self._segments) == 1:
            only = self._segments[0]
            return put_together(only.plan, [column.fetch(self._row.index_select(0, at)) for column in only.columns])
        segment, row = self._segment[at], self._row[at]
        numbers = sorted(set(segment.tolist()))
        places = [(segment == number).nonzero().flatten() for number in numbers]
        fetched = [
            [column.fetch(row[at]) for column in self._segments[number].columns]
            for number, at in zip(numbers, places, strict=True)
        ]
        leaves: list[Leaf] = [merged(parts, places) for parts in zip(*fetched, strict=True)]
        return put_together(self._segments[numbers[0]].plan, leaves)


def write(
    folder: Path,
    digests: Sequence[bytes],
    batches: Iterable[tuple[Any, int]],
    kind: torch.dtype | None,
    about: Mapping[str, Any],
) -> None:
    """Fill a folder with rows; what each argument is, `Store.add` says."""
    plan, columns = _written(folder, batches, kind)
    known = b"".join(digests)
    (folder / _DIGESTS).write_bytes(known)
    said = {"rows": len(digests), "digests": crc32(known), "plan": plan, "columns": columns, "about": dict(about)}
    (folder / ABOUT).write_text(json.dumps({"sum": crc32(json.dumps(said).encode()), **said}))


def _written(
    folder: Path, batches: Iterable[tuple[Any, int]], kind: torch.dtype | None
) -> tuple[Plan, list[dict[str, Any]]]:
    writers: list[Writer] = []
    plan: Plan = None
    for value, count in batches:
        plan, leaves = taken_apart(value, count)
        writers = writers or [Writer(folder, str(number), kind) for number in range(len(leaves))]
        for writer, leaf in zip(writers, leaves, strict=True):
            writer.add(leaf)
    return plan, [writer.close() for writer in writers]


def read(folder: Path) -> Segment | None:
    """A segment; None where it is damaged, or was removed meanwhile."""
    try:
        if not is_whole(folder):
            _log.warning("%s is damaged: its activations are computed anew", folder)
            shutil.rmtree(folder, ignore_errors=True)
            return None
        said = json.loads((folder / ABOUT).read_text())
        digests = (folder / _DIGESTS).read_bytes()
        each = len(digests) // max(said["rows"], 1)
        cut = [digests[start : start + each] for start in range(0, len(digests), each)]
        return Segment(cut, said["plan"], [Column(folder, form) for form in said["columns"]])
    except (FileNotFoundError, RuntimeError):  # torch's word for a file that is gone
        return None


def is_whole(folder: Path) -> bool:
    """Whether every file is as it was written; of files that did not change since they were looked at, as before."""
    state = tuple((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in sorted(folder.iterdir()))
    if (folder, *state) in _sound:
        return True
    try:
        said = json.loads((folder / ABOUT).read_text())
        whole = said.pop("sum") == crc32(json.dumps(said).encode())
        whole = whole and crc32((folder / _DIGESTS).read_bytes()) == said["digests"]
        whole = whole and all(good for form in said["columns"] for good in sums(folder, form))
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
    if whole:
        _sound.add((folder, *state))
    return whole
