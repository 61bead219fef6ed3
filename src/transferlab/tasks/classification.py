"""Classification: one class out of several."""

from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor, nn
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from transferlab.backbones.base import Backbone
from transferlab.errors import InputError
from transferlab.tasks import labels, report, resampling
from transferlab.tasks.counted import ClassAccuracy
from transferlab.tasks.focal import check_gamma, focal
from transferlab.values import Value


def squared_error(logits: Tensor, shares: Tensor, weights: Tensor | None) -> Tensor:
    """Mean squared error of each sample: `1 / C sum_c (p_c - q_c)^2` with p the softmax.

    The score of Brier 1950, "Verification of Forecasts Expressed in Terms of Probability" (Monthly Weather Review),
    equation 2, over the number of classes.

    Args:
        logits: (B, C).
        shares: q, of the classes in each label, (B, C), rows that sum to 1.
        weights: of each class, (C,), by which a sample counts; None: all alike.

    Returns:
        (B,).
    """
    errors = (logits.softmax(1) - shares).square().mean(1)
    return errors if weights is None else errors * (shares @ weights)


class Classification:
    """Cross-entropy on (B, C) logits and (B,) labels; accuracy in [0, 1].

    Args:
        head: builds the head from (features, classes).
        metric: by which an epoch is chosen.
        class_weights: of each class in the loss: null, `balanced` (by the training labels' counts), `{effective: beta}`
            (by their effective number), or one number each.
        label_smoothing: share of a label that is spread over all classes, in [0, 1) (Szegedy et al. 2016, "Rethinking
            the Inception Architecture for Computer Vision", section 7).
        focal: gamma of the focal loss (Lin et al. 2017), whose alpha are the class weights; 0: cross-entropy.
        criterion: `cross_entropy`, or `squared_error` of the probabilities.

    Raises:
        InputError: a share outside [0, 1), a gamma below 0, or another criterion.
    """

    dense = False
    reconstructs = False

    def __init__(
        self,
        head: Callable[[int, int], nn.Module],
        metric: str,
        class_weights: labels.ClassWeights | None,
        label_smoothing: float,
        focal: float,
        criterion: Literal["cross_entropy", "squared_error"],
    ) -> None:
        if not 0 <= label_smoothing < 1:
            raise InputError(f"task.label_smoothing={label_smoothing}: a share in [0, 1)")
        check_gamma(focal)
        if criterion not in ("cross_entropy", "squared_error"):
            raise InputError(f"task.criterion={criterion}: 'cross_entropy' or 'squared_error'")
        if focal and criterion == "squared_error":
            raise InputError(f"task.focal={focal} is of task.criterion=cross_entropy: set one of them back")
        self._head = head
        self.metric = metric
        self._class_weights = class_weights
        self._smoothing, self._gamma, self._squared = label_smoothing, focal, criterion == "squared_error"
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
        """Mean cross-entropy, focal loss or squared error over the batch, each sample times its class's weight.

        Args:
            outputs: logits (B, C).
            y: classes (B,), or a mixture of them, (B, C) with rows that sum to 1.
        """
        weights = None if self._weights is None else self._weights.to(outputs)
        if self._gamma:
            return focal(outputs, self._shares(outputs, y), weights, self._gamma).mean()
        if self._squared:
            return squared_error(outputs, self._shares(outputs, y), weights).mean()
        if weights is None:
            return nn.functional.cross_entropy(outputs, y, label_smoothing=self._smoothing)
        losses = nn.functional.cross_entropy(outputs, y, weights, reduction="none", label_smoothing=self._smoothing)
        return losses.mean()

    def _shares(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Of the classes in each label, (B, C), smoothed."""
        classes = outputs.shape[1]
        shares = nn.functional.one_hot(y, classes) if y.ndim == 1 else y
        return (1 - self._smoothing) * shares.to(outputs) + self._smoothing / classes

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
                "class_accuracy": ClassAccuracy(outputs),
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
