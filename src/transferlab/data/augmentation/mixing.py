"""Samples of a batch mixed with one another, and their labels with them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor
from torchvision.transforms import v2

from transferlab.data.augmentation.base import Mix, borrowed
from transferlab.errors import InputError
from transferlab.inputs.base import Input
from transferlab.values import Value


@dataclass(frozen=True)
class Mixing:
    """Mixes each batch by one of torchvision's transforms, drawn anew for each; labels become shares of classes (B, C).

    MixUp (Zhang et al. 2018, https://arxiv.org/abs/1710.09412) and CutMix (Yun et al. 2019,
    https://arxiv.org/abs/1905.04899).

    Args:
        transforms: by name; each is built with `num_classes` and takes inputs and labels of a batch.
        classes: of the set; None: not known yet.
    """

    transforms: Mapping[str, Callable[..., Any]]
    classes: int | None = None

    def prepared(self, key: str, input: Input, y: Tensor, classes: int) -> Mix:  # noqa: D102
        example = input.example(1)
        if not isinstance(example, Tensor) or example.ndim not in (2, 4) or not example.is_floating_point():
            raise InputError(
                f"{key} mixes images or tables, the backbone takes {input.kind} of other shapes: "
                f"choose augmentation=none"
            )
        if y.ndim != 1 or y.is_floating_point() or not classes:
            raise InputError(f"{key} mixes labels that are classes, and these are not: choose augmentation=none")
        return replace(self, classes=classes)

    def __call__(self, x: Value, y: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W) or rows (B, D), floats."""
        assert isinstance(x, Tensor)
        mixed = v2.RandomChoice([build(num_classes=self.classes) for build in self.transforms.values()])
        with borrowed() as generator:
            generator.manual_seed(seed)
            # torchvision mixes images alone: a row is one of one pixel
            h, shares = mixed(x if x.ndim == 4 else x[..., None, None], y)
        return h.reshape(x.shape), shares
