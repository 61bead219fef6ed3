"""Which samples make up each batch: pure functions of (seed, epoch), so that a resumed run sees what it would have."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch.utils.data import Sampler

from transferlab.seeding import derive


class Ticket(NamedTuple):
    """A batch of training samples to be fetched.

    Attributes:
        indices: of its samples.
        turns: how many times the whole set was passed over before, one a sample; a sample looks alike within a turn.
    """

    indices: list[int]
    turns: list[int]


class Shuffled(Sampler[Ticket]):
    """Batches that pass over all samples once an epoch, shuffled anew each epoch.

    A last batch of one sample is left out (BatchNorm cannot train on it) unless it is the only one; the shuffling
    brings its sample back in the next epoch.
    """

    def __init__(self, samples: int, batch_size: int, seed: int) -> None:
        self.samples, self.batch_size, self.seed, self.epoch = samples, batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning as each epoch starts."""
        self.epoch = epoch

    def __len__(self) -> int:
        full, rest = divmod(self.samples, self.batch_size)
        return max(1, full + (rest > 1))

    def __iter__(self) -> Iterator[Ticket]:
        order = _permutation(self.samples, derive(self.seed, "order", self.epoch))
        for batch in range(len(self)):
            indices = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            yield Ticket(indices, [self.epoch] * len(indices))


class Stream(Sampler[Ticket]):
    """As many batches an epoch as another sampler has, cut from one endless sequence of shuffled passes.

    An epoch is a pass over the target; the source flows beside it, however large or small it is.
    """

    def __init__(self, samples: int, batch_size: int, batches: int, seed: int) -> None:
        self.samples, self.batch_size, self.batches, self.seed, self.epoch = samples, batch_size, batches, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning as each epoch starts."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[Ticket]:
        position = self.epoch * self.batches * self.batch_size
        known: dict[int, list[int]] = {}
        for _ in range(self.batches):
            batch = Ticket([], [])
            for place in range(position, position + self.batch_size):
                turn, offset = divmod(place, self.samples)
                if turn not in known:
                    known = {turn: _permutation(self.samples, derive(self.seed, "stream", turn))}
                batch.indices.append(known[turn][offset])
                batch.turns.append(turn)
            position += self.batch_size
            yield batch


class InOrder(Sampler[list[int]]):
    """Batches in the order of the samples, for validation and test."""

    def __init__(self, samples: int, batch_size: int) -> None:
        self.samples, self.batch_size = samples, batch_size

    def __len__(self) -> int:
        return -(-self.samples // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        for start in range(0, self.samples, self.batch_size):
            yield list(range(start, min(start + self.batch_size, self.samples)))


def _permutation(samples: int, seed: int) -> list[int]:
    order: list[int] = torch.randperm(samples, generator=torch.Generator().manual_seed(seed)).tolist()
    return order
