"""Metrics of the samples of each class that are recognised."""

import torch
from torch import Tensor
from torchmetrics import Metric


class Counted(Metric):
    """Counts, of logits (B, C) and labels (B,), each class's samples and those that are recognised.

    Args:
        outputs: C.
    """

    higher_is_better = True
    full_state_update = False
    right: Tensor
    total: Tensor

    def __init__(self, outputs: int) -> None:
        super().__init__()
        for name in ("right", "total"):
            self.add_state(name, torch.zeros(outputs, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, outputs: Tensor, y: Tensor) -> None:
        """Count a batch."""
        count = len(self.total)
        self.total += torch.bincount(y, minlength=count)
        self.right += torch.bincount(y[outputs.argmax(1) == y], minlength=count)


class ClassAccuracy(Counted):
    """The mean of the accuracies of the classes that have samples; NaN where none has."""

    def compute(self) -> Tensor:
        """Of all batches so far."""
        there = self.total > 0
        return (self.right[there].float() / self.total[there]).mean()
