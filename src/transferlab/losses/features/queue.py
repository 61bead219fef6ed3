"""What past batches looked like, for losses that contrast a sample with more than its batch."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_EMPTY = -1


class Queue(nn.Module):
    """The last embeddings of each kind with their classes, first in, first out; in buffers, so a checkpoint has them.

    Args:
        length: L, how many samples are remembered.
        sizes: length of the vectors of each kind.
    """

    labels: Tensor
    pushed: Tensor

    def __init__(self, length: int, **sizes: int) -> None:
        super().__init__()
        self._kinds = tuple(sizes)
        for kind, size in sizes.items():
            self.register_buffer(f"past_{kind}", torch.zeros(length, size))
        self.register_buffer("labels", torch.full((length,), _EMPTY))
        self.register_buffer("pushed", torch.tensor(0))

    def behind(self, kind: str, batch: Tensor) -> Tensor:
        """A batch's vectors (B, E), and behind them those remembered: (B + L, E), without gradients."""
        past = self.get_buffer(f"past_{kind}")
        return torch.cat([batch.detach().to(past), past])

    def others(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Of `behind`'s rows those that are there and are not the sample's own, by whether their class is the same.

        Args:
            y: classes of the batch (B,).

        Returns:
            Those of a sample's class, and those of other classes, (B, B + L) each.
        """
        labels = torch.cat([y, self.labels])
        itself = F.pad(torch.eye(len(y), dtype=torch.bool, device=y.device), (0, len(self.labels)))
        there = (labels != _EMPTY) & ~itself
        same = y[:, None] == labels
        return there & same, there & ~same

    @torch.no_grad()
    def push(self, y: Tensor, **batch: Tensor) -> None:
        """Remember a batch in the place of what is oldest.

        Args:
            y: classes, 0 or above (B,).
            batch: vectors of each kind (B, E).
        """
        length = len(self.labels)
        places = (self.pushed + torch.arange(len(y), device=y.device)) % length
        self.labels[places[-length:]] = y[-length:]
        for kind in self._kinds:
            past = self.get_buffer(f"past_{kind}")
            past[places[-length:]] = batch[kind][-length:].to(past)
        self.pushed += len(y)
