"""The rows of which activations are kept: samples as they are, or a few drawn views of each."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from transferlab.data.batches import Ticket
from transferlab.data.duplicates import digests
from transferlab.data.samples import Samples
from transferlab.seeding import derive

DIGEST = 16
"""Bytes by which a row is known."""


@runtime_checkable
class Seen(Protocol):
    """Samples of which a net sees something else than what they are known by."""

    def seen(self) -> list[bytes]:
        """A hash of each, of what it sees."""
        ...


@dataclass(frozen=True)
class Rows:
    """A part of the data by row: row `view * N + position` is a sample in one of its views.

    Attributes:
        samples: N of them, as they are.
        seed: from which their changes are drawn; None: they do not change, and have one view.
        views: how many stand for all that could be drawn.
        fetch: reads batches of rows, one a ticket or list of positions.
    """

    samples: Samples
    seed: int | None
    views: int
    fetch: Callable[[Sequence[Any]], Iterable[Any]]

    def __len__(self) -> int:
        return len(self.samples) * self.views

    def numbers(self, positions: Tensor, turns: Sequence[int] | None) -> Tensor:
        """The rows of samples (B,) in given turns; of validation and test there are none."""
        if self.seed is None or turns is None:
            return positions
        return torch.as_tensor(turns) % self.views * len(self.samples) + positions

    def read(self, rows: Sequence[int], size: int) -> Iterator[Any]:
        """Batches of rows, `size` at most, as a loader gives them."""
        cut = [rows[start : start + size] for start in range(0, len(rows), size)]
        yield from self.fetch([self._asked(batch) for batch in cut])

    def labels(self, rows: Sequence[int]) -> Tensor:
        """Of the rows' samples."""
        return self.samples.y[torch.as_tensor(rows) % len(self.samples)]

    def known(self) -> list[bytes]:
        """By what each row is known, whatever set its sample is in."""
        kind = type(self.samples).__qualname__.encode()[:64]
        held = self.samples.seen() if isinstance(self.samples, Seen) else digests(self.samples)
        seen = [hashlib.blake2b(one, digest_size=DIGEST, key=kind).digest() for one in held]
        if self.seed is None:
            return seen
        return [
            hashlib.blake2b(one + derive(self.seed, view, position).to_bytes(4, "big"), digest_size=DIGEST).digest()
            for view in range(self.views)
            for position, one in enumerate(seen)
        ]

    def _asked(self, rows: Sequence[int]) -> Ticket | list[int]:
        if self.seed is None:
            return list(rows)
        count = len(self.samples)
        return Ticket([row % count for row in rows], [row // count for row in rows])
