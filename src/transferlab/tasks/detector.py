"""Torchvision's FCOS on maps that are already there, in place of a backbone and a resizing of its own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import FeaturePyramidNetwork


@dataclass(frozen=True)
class Found:
    """What a detector says of B images at each of A points, before it is sorted out.

    Attributes:
        rules: torchvision's detector, asked which point answers for which box, and which boxes are one; none of its
            parameters has a part in that.
        said: `cls_logits` (B, A, C), `bbox_regression` (B, A, 4) and `bbox_ctrness` (B, A, 1).
        anchors: the square at each point (A, 4), in pixels.
        points: how many each level of the pyramid has; they sum to A.
        size: height and width of the images in pixels.
    """

    rules: Any
    said: Mapping[str, Tensor]
    anchors: Tensor
    points: Sequence[int]
    size: tuple[int, int]

    def losses(self, y: Tensor) -> Mapping[str, Tensor]:
        """The terms of the loss under boxes (B, M, 5)."""
        terms: Mapping[str, Tensor] = self.rules.compute_loss(
            self.targets(y), self.said, [self.anchors] * len(y), list(self.points)
        )
        return terms

    def detections(self) -> list[dict[str, Tensor]]:
        """Of each image `boxes` in pixels, `scores` and `labels`, after non-maximum suppression."""
        points = list(self.points)
        images = len(self.said["cls_logits"])
        levels = {name: list(torch.split(said, points, 1)) for name, said in self.said.items()}
        anchors = list(torch.split(self.anchors, points))
        found: list[dict[str, Tensor]] = self.rules.postprocess_detections(
            levels, [anchors] * images, [self.size] * images
        )
        return found

    def targets(self, y: Tensor) -> list[dict[str, Tensor]]:
        """Of each image `boxes` in pixels and `labels`, from (B, M, 5) without the rows that fill it up."""
        rows = [row[row[:, 0] >= 0] for row in y]
        return [{"boxes": row[:, 1:] * self.scale(y), "labels": row[:, 0].long()} for row in rows]

    def scale(self, y: Tensor) -> Tensor:
        """Pixels of the image along x, y, x and y, where `y` lies."""
        height, width = self.size
        return y.new_tensor([width, height, width, height])


class Pyramid(nn.Module):
    """Torchvision's feature pyramid on maps from fine to coarse (Lin et al. 2017), in the shape that FCOS wants.

    Args:
        channels: of each map.
        out_channels: of each map that it gives.
    """

    def __init__(self, channels: Sequence[int], out_channels: int) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.pyramid = FeaturePyramidNetwork(list(channels), out_channels)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps of the same sizes, of one number of channels."""
        return list(self.pyramid({str(level): one for level, one in enumerate(maps)}).values())


class Detector(nn.Module):
    """FCOS from the maps of stages to what it says.

    Args:
        pyramid: on these maps.
        head: FCOS's, on each map of the pyramid.
        reads: names of the stages.
        strides: pixels a point of each map, from fine to coarse.
        maps: makes maps (B, C, h, w) of what a stage gave.
        rules: further arguments of torchvision's `FCOS`: thresholds.
    """

    def __init__(
        self,
        pyramid: Pyramid,
        head: Any,
        reads: Sequence[str],
        strides: Sequence[int],
        maps: Callable[[Any], Tensor],
        rules: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.reads = tuple(reads)
        # as FCOS has it: one square a point, as large as the stride
        anchors = AnchorGenerator(tuple((stride,) for stride in strides), ((1.0,),) * len(strides))
        self.detector = FCOS(
            pyramid, head.classification_head.num_classes, anchor_generator=anchors, head=head, **rules
        )
        self._stride = strides[0]
        self._maps = maps

    def forward(self, values: Sequence[Any]) -> Found:
        """What is found at each point of each level."""
        levels = self.detector.backbone([self._maps(value) for value in values])
        # losses and box arithmetic want float32 under mixed precision too
        said = {name: part.float() for name, part in self.detector.head(levels).items()}
        size = (levels[0].shape[2] * self._stride, levels[0].shape[3] * self._stride)
        # an image of no channels: the anchors ask for its size alone
        image = ImageList(levels[0].new_empty(1, 0, *size, dtype=torch.float32), [size])
        (anchors,) = self.detector.anchor_generator(image, [level.float() for level in levels])
        return Found(self.detector, said, anchors, [level.shape[2:].numel() for level in levels], size)
