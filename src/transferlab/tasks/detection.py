"""Object detection: the boxes around objects, and the class of each."""

from collections.abc import Sequence
from importlib.util import find_spec
from math import nan
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics import MetricCollection
from torchmetrics.detection import MeanAveragePrecision
from torchvision.models.detection.fcos import FCOSHead

from transferlab.backbones.base import Backbone
from transferlab.errors import InputError
from transferlab.tasks.detector import Detector, Found, Pyramid
from transferlab.tasks.labels import described
from transferlab.tasks.maps import chosen, map_shapes
from transferlab.values import Value

_LEVELS = 3
_GROUPS = 32  # of the head's GroupNorm; one channel each would leave nothing to normalise of a single point


class Detection:
    """Torchvision's FCOS on the maps of a backbone's stages; mean average precision in [0, 1].

    Labels are (B, M, 5): class and corners in shares of the image, class -1 where an image has fewer objects.

    Args:
        reads: stages on whose maps the pyramid stands, from fine to coarse; None: the last of each resolution, of these
            the three coarsest.
        channels: of the pyramid's maps, a multiple of 32 from 64 on.
        convolutions: in each of the head's two branches.
        score: a detection's least score, in [0, 1).
        overlap: the IoU from which on the weaker of two detections of a class is dropped.
        most: detections in an image, at most.
        metric: by which an epoch is chosen.

    Raises:
        InputError: numbers that do not fit, or the extra that the metrics need is not installed.
    """

    dense = True
    reconstructs = False

    def __init__(
        self,
        reads: Sequence[str] | None,
        channels: int,
        convolutions: int,
        score: float,
        overlap: float,
        most: int,
        metric: str,
    ) -> None:
        if channels < 2 * _GROUPS or channels % _GROUPS:
            raise InputError(
                f"task.channels={channels}: a multiple of {_GROUPS} from {2 * _GROUPS} on, as the head wants"
            )
        if convolutions < 0 or most < 1:
            raise InputError(f"task.convolutions={convolutions} task.most={most}: at least 0, and at least 1")
        if not 0 <= score < 1 or not 0 < overlap <= 1:
            raise InputError(f"task.score={score} task.overlap={overlap}: shares in [0, 1) and (0, 1]")
        if find_spec("faster_coco_eval") is None:
            raise InputError("task=detection measures by faster-coco-eval: pip install 'transferlab[detection]'")
        self._reads, self._channels, self._convolutions, self._most = reads, channels, convolutions, most
        self._rules = {"score_thresh": score, "nms_thresh": overlap, "detections_per_img": most}
        self.metric = metric

    def fit(self, y: Tensor, outputs: int) -> None:
        """See that the labels are boxes.

        Raises:
            InputError: they are not.
        """
        if y.ndim != 3 or y.shape[2] != 5 or not y.is_floating_point():
            raise InputError(
                f"task=detection takes boxes around objects, these labels are {described(y)}: choose target=coco or "
                "target=box_arrays, or another task"
            )

    def build_head(self, backbone: Backbone, outputs: int, example: Value) -> nn.Module:
        """A new feature pyramid with FCOS's head on it.

        Raises:
            InputError: no class, or a backbone without such maps.
        """
        if outputs < 1:
            raise InputError("detection needs at least one class of objects with a name")
        shapes = map_shapes(backbone, example)
        coarsest = {shape[1:]: stage for stage, shape in shapes.items()}
        reads = chosen(self._reads, list(coarsest.values())[-_LEVELS:], shapes)
        assert isinstance(example, Tensor)
        strides = [round(example.shape[2] / shapes[stage][1]) for stage in reads]
        if strides != sorted(strides):
            raise InputError(f"task.reads={list(reads)}: stages from fine to coarse maps, these have strides {strides}")
        pyramid = Pyramid([shapes[stage][0] for stage in reads], self._channels)
        head = FCOSHead(self._channels, 1, outputs, self._convolutions)
        return Detector(pyramid, head, reads, strides, backbone.maps, self._rules)

    def loss(self, outputs: Found, y: Tensor) -> Tensor:
        """Focal loss of the classes, GIoU loss of the boxes and cross-entropy of the centredness, added.

        Each is a sum over points, divided by how many of them answer for a box: Tian et al. 2019, "FCOS: Fully
        Convolutional One-Stage Object Detection" (ICCV), equation 2, with GIoU in place of IoU.
        """
        return torch.stack(list(outputs.losses(y).values())).sum()

    def scored(self, outputs: Found, y: Tensor) -> tuple[list[dict[str, Tensor]], list[dict[str, Tensor]]]:
        """Each image's detections after non-maximum suppression, `boxes`, `scores` and `labels`; and its true boxes."""
        return outputs.detections(), outputs.targets(y)

    def probabilities(self, outputs: Found) -> None:
        """None: a sample has many objects."""

    def metrics(self, outputs: int) -> MetricCollection:
        """COCO's mean average precision over IoU thresholds .5 to .95, and that at .5 and .75 alone."""
        # each keeps the detections; shared ones would be copied at every batch
        return MetricCollection(
            {
                "map": AveragePrecision(None),
                "map_50": AveragePrecision(0.5),
                "map_75": AveragePrecision(0.75),
            },
            compute_groups=False,
        )

    def kept(self, outputs: Found, y: Tensor) -> tuple[Tensor, Tensor]:
        """Detections (B, most, 6): class, score and corners in shares of the image, class -1 where there are fewer."""
        columns = [
            torch.cat([one["labels"][:, None], one["scores"][:, None], one["boxes"] / outputs.scale(y)], 1)
            for one in outputs.detections()
        ]
        filled = [functional.pad(rows, (0, 0, 0, self._most - len(rows)), value=-1.0) for rows in columns]
        return torch.stack(filled), y

    def report(self, kept: Tensor, y: Tensor, outputs: int) -> dict[str, Any]:
        """How many boxes each class has and its average precision, NaN where it has none; no intervals.

        A bootstrap would sort all detections anew in each of its draws.
        """
        metric = MeanAveragePrecision(class_metrics=True, backend="faster_coco_eval")
        said = [row[row[:, 0] >= 0] for row in kept]
        true = [row[row[:, 0] >= 0] for row in y]
        metric.update(
            [{"boxes": rows[:, 2:], "scores": rows[:, 1], "labels": rows[:, 0].long()} for rows in said],
            [{"boxes": rows[:, 1:], "labels": rows[:, 0].long()} for rows in true],
        )
        scores = metric.compute()
        boxes = torch.cat(true)[:, 0].long().bincount(minlength=outputs).tolist()
        classes = zip(scores["classes"].reshape(-1).tolist(), scores["map_per_class"].reshape(-1).tolist(), strict=True)
        by_class = dict(classes)
        precision = [by_class[label] if boxes[label] else nan for label in range(outputs)]
        return {"intervals": {}, "classes": {"boxes": boxes, "map": precision}}


class AveragePrecision(MeanAveragePrecision):
    """Mean average precision as one number in [0, 1], as COCO computes it; 0 where no image has a box.

    Args:
        threshold: the IoU from which on a detection is right; None: the mean over .5, .55, ..., .95.
    """

    def __init__(self, threshold: float | None) -> None:
        super().__init__(iou_thresholds=None if threshold is None else [threshold], backend="faster_coco_eval")

    def compute(self) -> Tensor:  # type: ignore[override]
        """The mean over classes, and over thresholds."""
        score: Tensor = super().compute()["map"]
        return score.clamp_min(0)  # COCO says -1 for no box
