"""Classification: one class out of several."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from transferlab.backbones.base import Backbone
from transferlab.errors import InputError
from transferlab.tasks import labels, report, resampling
from transferlab.values import Value


class Classification:
    """Cross-entropy on (B, C) logits and (B,) labels; accuracy in [0, 1].

    Args:
        head: builds the head from (features, classes).
        metric: by which an epoch is chosen.
        class_weights: of each class in the loss: null, `balanced` (by the training labels' counts), or one number each.
        label_smoothing: share of a label that is spread over all classes, in [0, 1) (Szegedy et al. 2016, "Rethinking
            the Inception Architecture for Computer Vision", section 7).

    Raises:
        InputError: a share outside [0, 1).
    """

    dense = False
    reconstructs = False

    def __init__(
        self,
        head: Callable[[int, int], nn.Module],
        metric: str,
        class_weights: str | Sequence[float] | None,
        label_smoothing: float,
    ) -> None:
        if not 0 <= label_smoothing < 1:
            raise InputError(f"task.label_smoothing={label_smoothing}: a share in [0, 1)")
        self._head = head
        self.metric = metric
        self._class_weights = class_weights
        self._smoothing = label_smoothing
        self._weights: Tensor | None = None

    def fit(self, y: Tensor, outputs: int) -> None:
        """Weigh the classes by the training labels.

        Raises:
            InputError: labels that are no classes, or weights that do not fit them.
        """
        labels.check_classes(y, "classification")
        self._weights = labels.class_weights(y, outputs, self._class_weights)

    def build_head(self, backbone: Backbone, outputs: int, example: Value) -> nn.Module:
        """A new head from (B, features) to (B, classes)."""
        return self._head(backbone.features, outputs)

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Mean cross-entropy over the batch, each sample times its class's weight.

        Args:
            outputs: logits (B, C).
            y: classes (B,), or a mixture of them, (B, C) with rows that sum to 1.
        """
        weights = None if self._weights is None else self._weights.to(outputs)
        losses = nn.functional.cross_entropy(outputs, y, weights, reduction="none", label_smoothing=self._smoothing)
        return losses.mean()

    def scored(self, outputs: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """As they are."""
        return outputs, y

    def probabilities(self, outputs: Tensor) -> Tensor:
        """The softmax of the logits."""
        return outputs.float().softmax(1)

    def metrics(self, outputs: int) -> MetricCollection:
        """Accuracy over all samples alike, and as the mean of the classes' accuracies; the mean of the classes' F1."""
        return MetricCollection(
            {
                "accuracy": MulticlassAccuracy(outputs, average="micro"),
                "class_accuracy": MulticlassAccuracy(outputs, average="macro"),
                "f1": MulticlassF1Score(outputs, average="macro"),
            }
        )

    def kept(self, outputs: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The predicted class and its probability, (B, 2)."""
        return report.chosen(self.probabilities(outputs)), y

    def report(self, kept: Tensor, y: Tensor, outputs: int) -> dict[str, Any]:
        """Intervals, scores of each class, confusion and calibration."""
        formulas = {"class_accuracy": resampling.class_accuracy, "f1": resampling.macro_f1}
        metrics = {name: report.of_classes(formula, kept, y, outputs) for name, formula in formulas.items()}
        return report.on_classes(kept, y, outputs, metrics)
