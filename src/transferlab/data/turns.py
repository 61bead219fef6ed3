"""Training samples as each turn shows them, augmented anew."""

from dataclasses import dataclass

from torch import Tensor

from transferlab.data.augmentation.base import Augmentation
from transferlab.data.batches import Ticket
from transferlab.data.samples import Samples
from transferlab.seeding import derive
from transferlab.values import Value


@dataclass(frozen=True)
class Training:
    """One domain's training samples as each turn shows them: a pure function of (seed, turn, sample).

    Attributes:
        samples: as they are.
        augmentation: what becomes of them.
        seed: of the run and the domain.
        views: after so many turns a sample looks again as in the first; None: never.
    """

    samples: Samples
    augmentation: Augmentation
    seed: int
    views: int | None

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, ticket: Ticket) -> tuple[Value, Tensor, list[int]]:
        """Inputs, labels and each sample's seed, with which the changes go on once the batch is normalised."""
        x, y = self.samples[ticket.indices]
        if not self.augmentation:
            return x, y, []
        turns = ticket.turns if self.views is None else [turn % self.views for turn in ticket.turns]
        seeds = [derive(self.seed, turn, index) for index, turn in zip(ticket.indices, turns, strict=True)]
        return *self.augmentation.fetched(x, y, seeds), seeds
