"""Classification of a target that has samples of none of the source's classes."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from transferlab.tasks.classification import Classification


def h_score(right: Tensor, total: Tensor) -> Tensor:
    """`2 a b / (a + b)`, a the mean accuracy of the known classes, b the accuracy of the unknown one.

    Fu et al. 2020, "Learning to Detect Open Classes for Universal Domain Adaptation" (ECCV). Classes
    without samples are left out.

    Args:
        right: samples of each class that are recognised (C + 1,), the last those of the unknown class.
        total: samples of each class (C + 1,).

    Returns:
        In [0, 1]; 0 where one of both is 0, or has no samples.
    """
    shares = right / total.clamp(min=1)
    there = total[:-1] > 0
    a = shares[:-1][there].mean() if there.any() else shares.new_zeros(())
    b = shares[-1]
    return 2 * a * b / (a + b) if a + b > 0 else shares.new_zeros(())


class HScore(Metric):
    """`h_score` of logits (B, C + 1) and labels (B,).

    Args:
        outputs: C + 1.
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

    def compute(self) -> Tensor:
        """Of all batches so far."""
        return h_score(self.right.float(), self.total.float())


class OpenSet(Classification):
    """Classification whose last class is `unknown`, with the H-score beside accuracy."""

    def metrics(self, outputs: int) -> MetricCollection:
        """Those of classification, and `h_score`."""
        found: dict[str, Any] = {str(name): metric for name, metric in super().metrics(outputs).items()}
        return MetricCollection({**found, "h_score": HScore(outputs)})
