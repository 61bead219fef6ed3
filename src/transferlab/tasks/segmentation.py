"""Semantic segmentation: a class for every pixel."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex
from torchvision.models.segmentation.fcn import FCNHead

from transferlab.backbones.base import Backbone
from transferlab.data.masks import IGNORED, fit_mask
from transferlab.errors import InputError
from transferlab.tasks import labels, pixels
from transferlab.tasks.maps import chosen, map_shapes
from transferlab.tasks.places import UNKNOWN
from transferlab.values import Value


class Segmentation:
    """Cross-entropy over pixels of (B, C, h, w) logits and (B, H, W) masks; IoU and accuracies in [0, 1].

    Outputs have the resolution of the maps that the head reads; loss and metrics bring them bilinearly to the masks'.

    Args:
        reads: stages on whose maps the head stands; None: the last one.
        class_weights: of each class in the loss: None: all alike; `balanced`: in inverse proportion to its pixels among
            the training masks; or a number of 0 or more for each.
        metric: by which an epoch is chosen.
    """

    dense = True
    reconstructs = False

    def __init__(self, reads: Sequence[str] | None, class_weights: str | Sequence[float] | None, metric: str) -> None:
        self._reads = reads
        self._class_weights = class_weights
        self._weights: Tensor | None = None
        self.metric = metric

    def fit(self, y: Tensor, outputs: int) -> None:
        """See that the labels are masks, and weigh the classes by their pixels.

        Raises:
            InputError: they are not, or weights that do not fit them.
        """
        if y.ndim != 3 or y.is_floating_point():
            raise InputError(
                f"task=segmentation takes a mask for each image, these labels are {labels.described(y)}: choose "
                "target=mask_folder or target=mask_arrays, or another task"
            )
        self._weights = labels.pixel_weights(y, outputs, self._class_weights)

    def build_head(self, backbone: Backbone, outputs: int, example: Value) -> nn.Module:
        """A new fully convolutional head on maps (B, channels, h, w) of one or more stages.

        Raises:
            InputError: fewer than two classes, or a backbone without such maps.
        """
        if outputs < 2:
            raise InputError(f"the masks have {outputs} class; segmentation needs at least two, background among them")
        shapes = map_shapes(backbone, example)
        reads = chosen(self._reads, list(shapes)[-1:], shapes)
        if narrow := [stage for stage in reads if shapes[stage][0] < 4]:
            raise InputError(
                f"stage '{narrow[0]}' has maps of {shapes[narrow[0]][0]} channels, a head of segmentation needs at "
                "least 4: choose another in task.reads, or a wider backbone"
            )
        return FullyConvolutional(reads, [shapes[stage][0] for stage in reads], outputs, backbone.maps)

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Mean cross-entropy over the known pixels of the batch, weighted by class; 0 where no pixel is known."""
        if outputs.dtype == torch.float16:
            outputs = outputs.float()  # the sum over so many pixels is beyond float16
        weights = None if self._weights is None else self._weights.to(outputs)
        total = functional.cross_entropy(
            upsampled(outputs, y.shape[1:]), y.long(), weights, ignore_index=IGNORED, reduction="sum"
        )
        # cross_entropy's own mean would divide by zero where a batch has no known pixel
        return total / self.counted(y).to(total).clamp_min(torch.finfo(total.dtype).tiny)

    def counted(self, y: Tensor) -> Tensor:
        """The known pixels, each times its class's weight."""
        known = y != IGNORED
        if self._weights is None:
            return known.sum()
        return (self._weights.to(y.device)[y.long().where(known, 0)] * known).sum()

    def scored(self, outputs: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The class of each pixel (B, H, W), and the masks."""
        return upsampled(outputs, y.shape[1:]).argmax(1), y

    def probabilities(self, outputs: Tensor) -> None:
        """None: a sample has a class in every pixel."""

    def placed(self, features: Any, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Logits at the points of the head's maps, row by row."""
        logits = outputs.flatten(2).transpose(1, 2)
        return logits, torch.ones(logits.shape[:2], dtype=torch.bool, device=logits.device)

    def vectors(self, backbone: Backbone, features: Any, outputs: Tensor) -> Tensor:
        """The backbone's maps there, brought to the head's resolution bilinearly."""
        return upsampled(backbone.maps(features), outputs.shape[2:]).flatten(2).transpose(1, 2)

    def marks(self, y: Tensor, outputs: Tensor) -> Tensor:
        """The classes of the masks there."""
        points = fit_mask(y, outputs.shape[2:]).flatten(1)
        return points.long().masked_fill(points == IGNORED, UNKNOWN)

    def metrics(self, outputs: int) -> MetricCollection:
        """The mean over classes of intersection over union, the accuracy over all pixels alike, and that of classes."""
        # values are checked when masks are read; looking at every pixel again would cost more than the metrics
        options: dict[str, Any] = {"ignore_index": IGNORED, "validate_args": False}
        return MetricCollection(
            {
                "iou": MulticlassJaccardIndex(outputs, average="macro", **options),
                "accuracy": MulticlassAccuracy(outputs, average="micro", **options),
                "class_accuracy": MulticlassAccuracy(outputs, average="macro", **options),
            }
        )

    def kept(self, outputs: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Counts of pixels by image and class, (B, 3, C), and of known ones (B,)."""
        predicted, y = self.scored(outputs, y)
        return pixels.counted(predicted, y, outputs.shape[1]), (y != IGNORED).flatten(1).sum(1)

    def report(self, kept: Tensor, y: Tensor, outputs: int) -> dict[str, Any]:
        """Intervals over images, and scores of each class."""
        return pixels.on_pixels(kept)


class FullyConvolutional(nn.Module):
    """Torchvision's FCN head on the maps of each stage; their scores are added at the finest map's resolution.

    Long, Shelhamer and Darrell 2015, "Fully Convolutional Networks for Semantic Segmentation" (CVPR), section 4.2: what
    coarse maps say is refined by what finer ones say. With one stage it is the head of torchvision's `fcn_resnet50`.

    Args:
        reads: names of the stages.
        channels: of the maps of each.
        classes: how many.
        maps: makes maps (B, C, h, w) of what a stage gave.
    """

    def __init__(
        self, reads: Sequence[str], channels: Sequence[int], classes: int, maps: Callable[[Any], Tensor]
    ) -> None:
        super().__init__()
        self.reads = tuple(reads)
        self.heads = nn.ModuleList(FCNHead(width, classes) for width in channels)
        self._maps = maps

    def forward(self, values: Sequence[Any]) -> Tensor:
        """Logits (B, classes, h, w)."""
        scores = [head(self._maps(value)) for head, value in zip(self.heads, values, strict=True)]
        finest = max((score.shape[2:] for score in scores), key=lambda size: size.numel())
        return torch.stack([upsampled(score, finest) for score in scores]).sum(0)


def upsampled(scores: Tensor, size: Sequence[int]) -> Tensor:
    """Scores (B, C, h, w) at another resolution (B, C, H, W), bilinearly; corners are pixels, not points."""
    if scores.shape[2:] == tuple(size):
        return scores
    return functional.interpolate(scores, list(size), mode="bilinear", align_corners=False)
