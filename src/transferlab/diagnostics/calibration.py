"""Calibration: whether a probability of 0.8 is right eight times in ten."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torchmetrics.classification import MulticlassCalibrationError

from transferlab.diagnostics.base import Look
from transferlab.module import TransferModule
from transferlab.tasks.base import own

_BINS = 15  # Guo et al. 2017, table 1


def expected_calibration_error(probabilities: Tensor, y: Tensor, bins: int) -> float:
    """The mean distance between confidence and accuracy over bins of equal width, weighted by their samples.

    Guo et al. 2017, "On Calibration of Modern Neural Networks" (ICML), equation 3; torchmetrics' `l1` norm.

    Args:
        probabilities: (N, C), rows sum to 1.
        y: labels (N,).
        bins: of the confidence in [0, 1].

    Returns:
        Between 0 and 1.
    """
    metric = MulticlassCalibrationError(probabilities.shape[1], n_bins=bins, norm="l1", validate_args=False)
    metric = own(metric.to(probabilities.device))
    metric.update(probabilities, y)
    return float(metric.compute())


class CalibrationError:
    """`expected_calibration_error` on the held-out labels, with 15 bins: `calibration_error`.

    Reads what validation computed anyway. With few labels held out it is coarse, and biased upwards.
    """

    reads = frozenset({"validation"})

    def passes(self, module: TransferModule) -> int:
        """Validation made them."""
        return 0

    def begin(self, look: Look) -> None:
        """It needs nothing of the start."""

    def measure(self, look: Look) -> Mapping[str, float]:
        """The error now; nothing where no labels are held out, or they are no classes."""
        if not look.validation:
            return {}
        probabilities, y = (torch.cat(parts) for parts in zip(*look.validation, strict=True))
        return {"calibration_error": expected_calibration_error(probabilities, y, _BINS)}
