"""What a record's `report` says of the test split: intervals, scores of each class, confusion, calibration."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional.classification import binary_calibration_error

from transferlab.tasks import resampling
from transferlab.tasks.resampling import Floats, Numbers, Weighted

BINS = 15  # Guo et al. 2017, table 1
_MOST = 100  # classes: a table of 100 x 100 is what a record still holds


@runtime_checkable
class Reporter(Protocol):
    """A task that reports on the test split; a task need not be one."""

    def kept(self, outputs: Any, y: Tensor) -> tuple[Tensor, Tensor]:
        """What is kept of a test batch, and its labels: (B, ...) each, as small as the report allows."""
        ...

    def report(self, kept: Tensor, y: Tensor, outputs: int) -> dict[str, Any]:
        """The report on all that was kept.

        Args:
            kept: of N samples, (N, ...), on the CPU.
            y: their labels (N, ...).
            outputs: how many classes or other outputs the data name.

        Returns:
            `intervals` of metrics by name, and what else there is to say, as plain numbers and lists.
        """
        ...


def chosen(probabilities: Tensor) -> Tensor:
    """The class with the highest probability and that probability, (B, 2), of probabilities (B, C)."""
    confidence, predicted = probabilities.float().max(1)
    return torch.stack([predicted.float(), confidence], 1)


def on_classes(kept: Tensor, y: Tensor, classes: int, metrics: Mapping[str, Weighted]) -> dict[str, Any]:
    """The report on samples that have one class each.

    Args:
        kept: as `chosen` gives them, (N, 2).
        y: classes (N,).
        classes: C.
        metrics: beside the accuracy, by name.

    Returns:
        `intervals`: of the accuracy Wilson's, of the other metrics the bootstrap's; `calibration_error`; `classes`:
        lists of samples, accuracy and F1 of each class, NaN where the test split has none of it; `confusion`: for each
        true class how often each class was predicted, None above 100 classes.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    predicted, labels, right = kept[:, 0].long(), y.long(), kept[:, 0].long() == y
    every = list(range(classes))
    _, recall, f1, samples = precision_recall_fscore_support(labels, predicted, labels=every, zero_division=np.nan)
    return {
        "intervals": {
            "accuracy": wilson(int(right.sum()), len(y)),
            **resampling.intervals(metrics, len(y)),
        },
        "calibration_error": calibration_error(kept[:, 1], right),
        "classes": {"samples": samples.tolist(), "accuracy": recall.tolist(), "f1": f1.tolist()},
        "confusion": confusion_matrix(labels, predicted, labels=every).tolist() if classes <= _MOST else None,
    }


def on_outputs(
    kept: Tensor, y: Tensor, metrics: Mapping[str, Callable[..., Floats]], cast: Callable[[Floats], NDArray[np.generic]]
) -> dict[str, Any]:
    """The report on samples with a label an output, NaN where one is missing.

    Args:
        kept: predictions (N, K).
        y: labels (N, K).
        metrics: of weights (D, n), predictions and known labels (n,) of one output, by name.
        cast: labels as the metrics take them.

    Returns:
        `intervals` of each metric's mean over the outputs, and `outputs`: lists of known samples and of each metric.
    """
    said, labels = kept.double().numpy(), y.double().numpy()

    def of(metric: Callable[..., Floats]) -> Callable[..., Floats]:
        return lambda weights, values, known: metric(weights, values, cast(known))

    single = {name: resampling.each(of(metric), said, labels) for name, metric in metrics.items()}
    means = {name: resampling.over_outputs(functions) for name, functions in single.items()}
    scores = {name: [resampling.at_hand(function, len(y)) for function in single[name]] for name in single}
    samples = (~np.isnan(labels)).sum(0).tolist()
    return {"intervals": resampling.intervals(means, len(y)), "outputs": {"samples": samples, **scores}}


def wilson(right: int, samples: int) -> list[float]:
    """The 95 % interval of a share, Wilson 1927, "Probable Inference, the Law of Succession" (JASA): `[low, high]`."""
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(right, samples, alpha=0.05, method="wilson")
    return [float(low), float(high)]


def calibration_error(confidence: Tensor, right: Tensor) -> float:
    """The mean distance between confidence and accuracy over 15 bins of equal width, weighted by their samples.

    Guo et al. 2017, "On Calibration of Modern Neural Networks" (ICML), equation 3.

    Args:
        confidence: of the predicted class, (N,), in [0, 1].
        right: whether it is the sample's, (N,).
    """
    return float(binary_calibration_error(confidence.clamp(0, 1), right.long(), n_bins=BINS, norm="l1"))


def of_classes(metric: Callable[..., Floats], kept: Tensor, y: Tensor, classes: int) -> Weighted:
    """A metric of predicted and true classes, for `on_classes`."""
    return partial(metric, predicted=_numbers(kept[:, 0]), y=_numbers(y), classes=classes)


def _numbers(classes: Tensor) -> Numbers:
    found: Numbers = classes.long().numpy()
    return found
