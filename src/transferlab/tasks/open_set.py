"""Classification of a target that has samples of none of the source's classes."""

from typing import Any

from torch import Tensor
from torchmetrics import MetricCollection

from transferlab.tasks.classification import Classification
from transferlab.tasks.counted import Counted


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


class HScore(Counted):
    """`h_score` of logits (B, C + 1) and labels (B,)."""

    def compute(self) -> Tensor:
        """Of all batches so far."""
        return h_score(self.right.float(), self.total.float())


class OpenSet(Classification):
    """Classification whose last class is `unknown`, with the H-score beside accuracy."""

    def metrics(self, outputs: int) -> MetricCollection:
        """Those of classification, and `h_score`."""
        found: dict[str, Any] = {str(name): metric for name, metric in super().metrics(outputs).items()}
        return MetricCollection({**found, "h_score": HScore(outputs)})
