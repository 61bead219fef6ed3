"""Multi-label classification: several outputs, each there or not."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection
from torchmetrics.classification import (
    MultilabelAUROC,
    MultilabelAveragePrecision,
    MultilabelExactMatch,
    MultilabelF1Score,
)
from torchmetrics.utilities.data import dim_zero_cat

from transferlab.backbones.base import Backbone
from transferlab.errors import InputError
from transferlab.tasks import labels, report, resampling
from transferlab.values import Value

_MISSING = -1


class MultiLabel:
    """Binary cross-entropy on (B, L) logits and (B, L) labels 0 and 1; a label that is NaN is missing.

    Args:
        head: builds the head from (features, L).
        metric: by which an epoch is chosen.
        pos_weight: how much a positive counts beside a negative: null, `balanced` (negatives by positives of each
            output among the training labels), or a number.
    """

    dense = False
    reconstructs = False

    def __init__(self, head: Callable[[int, int], nn.Module], metric: str, pos_weight: str | float | None) -> None:
        self._head = head
        self.metric = metric
        self._pos_weight = pos_weight
        self._weights: Tensor | None = None

    def fit(self, y: Tensor, outputs: int) -> None:
        """Weigh the positives by the training labels.

        Raises:
            InputError: labels that are not columns of 0 and 1, or a weight that is none.
        """
        if y.ndim != 2 or y.shape[1] != outputs:
            raise InputError(
                f"task=multilabel takes a column of 0 and 1 for each of the {outputs} outputs, these labels are "
                f"{labels.described(y)}: choose task=classification for one class a sample"
            )
        wrong = ~((y == 0) | (y == 1) | y.isnan())
        if wrong.any():
            sample, output = wrong.nonzero()[0].tolist()
            raise InputError(
                f"task=multilabel: label {output} of training sample {sample} is {float(y[sample, output]):g}; "
                "labels are 0, 1, or NaN where one is missing"
            )
        self._weights = labels.positive_weights(y, self._pos_weight)

    def build_head(self, backbone: Backbone, outputs: int, example: Value) -> nn.Module:
        """A new head from (B, features) to (B, L)."""
        return self._head(backbone.features, outputs)

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Mean binary cross-entropy over the known labels of the batch; 0 if it has none."""
        known = ~y.isnan()
        weights = None if self._weights is None else self._weights.to(outputs)
        losses = nn.functional.binary_cross_entropy_with_logits(
            outputs, torch.where(known, y, 0).to(outputs), pos_weight=weights, reduction="none"
        )
        return (losses * known).sum() / known.sum().clamp_min(1)

    def counted(self, y: Tensor) -> Tensor:
        """The known labels."""
        return (~y.isnan()).sum()

    def scored(self, outputs: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities, and labels as whole numbers: -1 where one is missing."""
        return outputs.float().sigmoid(), torch.where(y.isnan(), _MISSING, y).long()

    def probabilities(self, outputs: Tensor) -> None:
        """None: a sample may have several classes."""

    def metrics(self, outputs: int) -> MetricCollection:
        """The mean of the outputs' areas under the curve, F1 and average precision; the share of rows without error."""
        return MetricCollection(
            {
                "auroc": MeanAUROC(outputs, average="none", ignore_index=_MISSING),
                "f1": MultilabelF1Score(outputs, average="macro", ignore_index=_MISSING),
                "map": MultilabelAveragePrecision(outputs, average="macro", ignore_index=_MISSING),
                "subset_accuracy": MultilabelExactMatch(outputs, ignore_index=_MISSING),
            }
        )

    def kept(self, outputs: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities (B, L)."""
        return outputs.float().sigmoid(), y

    def report(self, kept: Tensor, y: Tensor, outputs: int) -> dict[str, Any]:
        """Intervals, and scores of each output."""
        metrics = {"auroc": resampling.auroc, "f1": _f1, "map": resampling.average_precision}
        said = report.on_outputs(kept, y, metrics, lambda known: known.astype("int64"))
        whole = (((kept > 0.5) == (y == 1)) | y.isnan()).all(1)
        said["intervals"]["subset_accuracy"] = report.wilson(int(whole.sum()), len(y))
        return said


class MeanAUROC(MultilabelAUROC):
    """The mean over the outputs that have a positive and a negative; NaN if none has.

    torchmetrics' own mean counts an output without positives as 0.
    """

    def compute(self) -> Tensor:  # type: ignore[override]
        """The mean."""
        y = dim_zero_cat(self.target)
        both = (y == 1).any(0) & (y == 0).any(0)
        areas: Tensor = super().compute()
        return areas[both].mean()


def _f1(weights: resampling.Floats, probabilities: resampling.Floats, y: resampling.Numbers) -> resampling.Floats:
    return resampling.f1(weights, (probabilities > 0.5).astype("int64"), y)
