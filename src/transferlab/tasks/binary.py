"""Binary classification: one class or the other, by one logit."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection
from torchmetrics.classification import BinaryAccuracy, BinaryAUROC, BinaryF1Score

from transferlab.backbones.base import Backbone
from transferlab.errors import InputError
from transferlab.tasks import labels, report, resampling
from transferlab.tasks.focal import binary_focal, check_gamma
from transferlab.values import Value


class Binary:
    """Binary cross-entropy on one logit (B, 1) and (B,) labels 0 and 1; the second class is the positive one.

    Args:
        head: builds the head from (features, 1).
        metric: by which an epoch is chosen.
        pos_weight: how much a positive counts beside a negative: null, `balanced` (negatives by positives among the
            training labels), `{effective: beta}` (by their effective numbers), or a number.
        focal: gamma of the focal loss (Lin et al. 2017); 0: cross-entropy.

    Raises:
        InputError: a gamma below 0.
    """

    dense = False
    reconstructs = False

    def __init__(
        self,
        head: Callable[[int, int], nn.Module],
        metric: str,
        pos_weight: str | float | Mapping[str, float] | None,
        focal: float,
    ) -> None:
        check_gamma(focal)
        self._head = head
        self.metric = metric
        self._pos_weight, self._gamma = pos_weight, focal
        self._weight: Tensor | None = None

    def fit(self, y: Tensor, outputs: int) -> None:
        """Weigh the positives by the training labels.

        Raises:
            InputError: more classes than two, or a weight that is none.
        """
        labels.check_classes(y, "binary")
        if outputs != 2:
            raise InputError(
                f"task=binary tells two classes apart, the data have {outputs}: choose task=classification"
            )
        self._weight = labels.positive_weights(y[:, None], self._pos_weight)

    def build_head(self, backbone: Backbone, outputs: int, example: Value) -> nn.Module:
        """A new head from (B, features) to (B, 1)."""
        return self._head(backbone.features, 1)

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Mean binary cross-entropy or focal loss over the batch.

        Args:
            outputs: logits (B, 1).
            y: classes (B,), or a mixture of them, (B, 2) with rows that sum to 1.
        """
        wanted = y[:, 1] if y.ndim == 2 else y
        weight = None if self._weight is None else self._weight.to(outputs)
        if self._gamma:
            return binary_focal(outputs[:, 0], wanted.to(outputs), weight, self._gamma).mean()
        return nn.functional.binary_cross_entropy_with_logits(outputs[:, 0], wanted.to(outputs), pos_weight=weight)

    def scored(self, outputs: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The second class's probability, and the labels."""
        return outputs[:, 0].float().sigmoid(), y

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Of both classes, `[1 - p, p]`."""
        p = outputs[:, 0].float().sigmoid()
        return torch.stack([1 - p, p], 1)

    def metrics(self, outputs: int) -> MetricCollection:
        """Accuracy, F1 of the second class, and the area under the receiver operating characteristic."""
        return MetricCollection({"accuracy": BinaryAccuracy(), "f1": BinaryF1Score(), "auroc": BinaryAUROC()})

    def kept(self, outputs: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The second class's probability, (B, 1)."""
        return self.probabilities(outputs)[:, 1:], y

    def report(self, kept: Tensor, y: Tensor, outputs: int) -> dict[str, Any]:
        """Intervals, scores of each class, confusion and calibration."""
        p, truth = kept[:, 0].double().numpy(), y.numpy()
        metrics = {
            "f1": partial(resampling.f1, predicted=(p > 0.5).astype("int64"), y=truth),
            "auroc": partial(resampling.auroc, scores=p, y=truth),
        }
        return report.on_classes(report.chosen(torch.cat([1 - kept, kept], 1)), y, outputs, metrics)
