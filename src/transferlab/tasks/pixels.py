"""What a report says of masks: from counts of pixels in each image, scores of classes and intervals over images."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from transferlab.data.masks import IGNORED
from transferlab.tasks import resampling
from transferlab.tasks.resampling import Floats, ratio


def counted(predicted: Tensor, y: Tensor, classes: int) -> Tensor:
    """How many known pixels of each image and class are right, are said to be of it, and are of it: (B, 3, C).

    Args:
        predicted: classes (B, H, W).
        y: masks (B, H, W).
        classes: C.
    """
    known = y != IGNORED
    # a class more holds what is not counted
    named = [
        torch.where(of, said, classes) for said, of in ((y, known & (predicted == y)), (predicted, known), (y, known))
    ]
    return torch.stack([_bincount(one.flatten(1).long(), classes + 1)[:, :classes] for one in named], 1)


def on_pixels(counts: Tensor) -> dict[str, Any]:
    """The report on images whose pixels have a class each.

    Args:
        counts: of each image, as `counted` gives them, (N, 3, C).

    Returns:
        `intervals` over images, the bootstrap's, of the three metrics; `classes`: lists of pixels, IoU and accuracy of
        each class, NaN where there is nothing of it.
    """
    right, said, are = np.moveaxis(counts.double().numpy(), 1, 0)

    def iou(weights: Floats) -> Floats:
        return _over_classes(weights @ right, weights @ (said + are - right))

    def class_accuracy(weights: Floats) -> Floats:
        return _over_classes(weights @ right, weights @ are, weights @ said)

    def accuracy(weights: Floats) -> Floats:
        found: Floats = ratio((weights @ right).sum(1), (weights @ are).sum(1))
        return found

    metrics = {"iou": iou, "accuracy": accuracy, "class_accuracy": class_accuracy}
    every = [part.sum(0) for part in (right, said, are)]
    return {
        "intervals": resampling.intervals(metrics, len(counts)),
        "classes": {
            "pixels": every[2].astype(int).tolist(),
            "iou": ratio(every[0], every[1] + every[2] - every[0]).tolist(),
            "accuracy": ratio(every[0], every[2]).tolist(),
        },
    }


def _bincount(numbers: Tensor, length: int) -> Tensor:
    """How often each number is in each row: (B, length) of (B, n)."""
    rows = torch.arange(len(numbers), device=numbers.device)[:, None] * length
    return (numbers + rows).flatten().bincount(minlength=len(numbers) * length).reshape(-1, length)


def _over_classes(above: Floats, below: Floats, also: Floats | None = None) -> Floats:
    """The mean of ratios (D, C) over the classes of which there is something, as torchmetrics has it."""
    present = below > 0 if also is None else below + also > 0
    ratios = np.where(present, np.nan_to_num(ratio(above, below)), 0.0)
    found: Floats = ratios.sum(1) / np.maximum(present.sum(1), 1)
    return found
