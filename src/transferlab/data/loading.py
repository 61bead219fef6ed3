"""What Lightning iterates over: batches as they are read, or of samples that have entered the net before."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from transferlab.data.batches import Ticket
from transferlab.data.fetching import Reading
from transferlab.values import Entered

TAUGHT = "taught"
"""Beside the domains of a training batch: what teachers have made of the target's samples."""


def size(batch: Mapping[str, Any]) -> int:
    """Samples of a training batch's first domain: the target's labelled ones where there are any."""
    return len(next(iter(batch.values()))[1])


class Passed(Protocol):
    """Activations of a part's samples, by position."""

    first_read: bool
    """Whether the first batch of a pass is read nevertheless, for what has to be seen of a whole step."""
    to_end: bool
    """Whether they have passed the whole net, so that the head alone is left."""

    def __call__(self, positions: Tensor, turns: Sequence[int] | None = None) -> Entered:
        """The batch of the samples at these positions (B,), in training each in a turn."""
        ...


class Loader:
    """One part of the data: of each pass the batches are read, unless there are activations to go on from.

    Args:
        reading: gives the batches as they are.
        sampler: says which samples make up each, one ticket or list of positions a batch.
        y: labels of all samples (N, ...).
        passed: asked at each pass; None: the batches are read.
        passed_whole: says the same of samples that have passed the whole net, of which more fit into a batch; None: it
            is a training batch, which is as large as it is, and also says how its samples are to be changed: not at
            all, once they have entered.
    """

    batch_sampler = None  # as Lightning asks a loader: a batch is one item of `sampler`

    def __init__(
        self,
        reading: Reading,
        sampler: Sampler[Any],
        y: Tensor,
        passed: Callable[[], Passed | None],
        passed_whole: Sampler[Any] | None,
    ) -> None:
        self.reading, self.sampler, self.y = reading, sampler, y
        self.passed, self.passed_whole = passed, passed_whole

    def __len__(self) -> int:
        return len(self.reading)

    def __iter__(self) -> Iterator[Any]:
        if (passed := self.passed()) is None:
            yield from self.reading
            return
        training = self.passed_whole is None
        sampler = self.passed_whole if self.passed_whole is not None and passed.to_end else self.sampler
        for number, ticket in enumerate(sampler):
            if passed.first_read and not number:
                yield self.reading.dataset[ticket]
                continue
            indices, *turns = ticket if isinstance(ticket, Ticket) else (ticket,)
            positions = _positions(indices)
            x, y = passed(positions, *turns), self.y[positions]
            yield (x, y, []) if training else (x, y)


class Beside:
    """What comes along with each training batch: of the same samples, what somebody knows of them.

    Args:
        sampler: of the batches.
        known: asked at each pass, by the name of who knows.
    """

    batch_sampler = None

    def __init__(self, sampler: Sampler[Ticket], known: Callable[[], Mapping[str, Passed]]) -> None:
        self.sampler, self.known = sampler, known

    def __len__(self) -> int:
        return len(self.sampler)  # type: ignore[arg-type]  # ours have a length

    def __iter__(self) -> Iterator[Mapping[str, Entered]]:
        known = self.known()
        for number, ticket in enumerate(self.sampler):
            positions = _positions(ticket.indices)
            yield {name: of(positions, ticket.turns) for name, of in known.items() if number or not of.first_read}


def _positions(indices: Sequence[int]) -> Tensor:
    return torch.from_numpy(np.asarray(indices))  # twice as fast as from a list
