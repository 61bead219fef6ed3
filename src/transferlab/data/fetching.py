"""Batches fetched from samples, here or by processes beside this one."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, TypeAlias

import torch
from torch.utils.data import DataLoader

from transferlab.data.batches import Ticket
from transferlab.data.samples import Deferred, InMemory, Samples
from transferlab.data.turns import Training
from transferlab.offspring import spared

_AT_ONCE = 2**18
"""Bytes of small batches that are gathered in one go: a table's batch takes less time than asking for it."""


class Here:
    """Fetches batches in this process; torch's own loader takes longer than a batch of a table.

    Args:
        dataset: gives the batch of a ticket or list.
        sampler: gives these.
    """

    num_workers = 0

    def __init__(self, dataset: Any, sampler: Any) -> None:
        self.dataset, self.sampler = dataset, sampler

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Any]:
        if (row := _row(self.dataset)) is None:
            for ticket in self.sampler:
                yield self.dataset[ticket]
            return
        tickets = iter(self.sampler)
        while ticket := next(tickets, None):
            more = islice(tickets, _AT_ONCE // (row * len(ticket.indices)))
            yield from self._several([ticket, *more])

    def _several(self, tickets: list[Ticket]) -> Iterator[Any]:
        lengths = [len(ticket.indices) for ticket in tickets]
        x, y, seeds = self.dataset[Ticket([one for ticket in tickets for one in ticket.indices], [])]
        for part in zip(x.split(lengths), y.split(lengths), strict=True):
            yield *part, seeds


def _row(dataset: Any) -> int | None:
    """Bytes of a training sample that lies in memory and is not changed; None: it is another."""
    if not isinstance(dataset, Training) or dataset.augmentation or not isinstance(dataset.samples, InMemory):
        return None
    return max(dataset.samples.x[:1].nbytes, 1)


class Beside(DataLoader[Any]):
    """Fetches batches in processes beside this one."""

    def __iter__(self) -> Any:
        with spared():
            return super().__iter__()


Reading: TypeAlias = Beside | Here


def fetching(samples: Any, sampler: Any, workers: int) -> Reading:
    """Fetches batches as they are, one a ticket or list of positions.

    Args:
        samples: give the batch of a ticket or list.
        sampler: gives these.
        workers: processes that fetch; 0: this one does.
    """
    if not workers:
        return Here(samples, sampler)
    # A batch is fetched by one ticket. The loader's own generator keeps it from drawing on the global one.
    return Beside(
        samples,
        sampler=sampler,
        batch_size=None,
        collate_fn=_whole,
        num_workers=workers,
        generator=torch.Generator(),
        persistent_workers=True,
    )


def at_hand(samples: Samples) -> bool:
    """Whether a batch is fetched in less time than a process takes to send it."""
    return isinstance(samples, InMemory | Deferred)


def _whole(batch: Any) -> Any:
    """A batch is fetched as the tensors that it is to be; torch's own conversion would walk through it for nothing."""
    return batch
