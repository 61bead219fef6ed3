"""Classification: one class out of several."""

from collections.abc import Callable
from typing import Protocol

from torch import Tensor, nn
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy


class Task(Protocol):
    """What a kind of problem brings to a run."""

    def build_head(self, features: int, outputs: int) -> nn.Module:
        """A new head from (B, features) to (B, outputs)."""
        ...

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """The task loss, a scalar."""
        ...

    def metrics(self, outputs: int) -> MetricCollection:
        """New metrics for validation and test, named as they are logged."""
        ...


class Classification:
    """Cross-entropy on (B, C) logits and (B,) labels; accuracy in [0, 1].

    Args:
        head: builds the head from (features, classes).
    """

    def __init__(self, head: Callable[[int, int], nn.Module]) -> None:
        self._head = head

    def build_head(self, features: int, outputs: int) -> nn.Module:
        """A new head."""
        return self._head(features, outputs)

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Mean cross-entropy over the batch."""
        return nn.functional.cross_entropy(outputs, y)

    def metrics(self, outputs: int) -> MetricCollection:
        """Accuracy over all samples alike, and as the mean of the classes' accuracies."""
        return MetricCollection(
            {
                "accuracy": MulticlassAccuracy(outputs, average="micro"),
                "class_accuracy": MulticlassAccuracy(outputs, average="macro"),
            }
        )
