"""Inputs with noise in them: what a denoising autoencoder takes away again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from transferlab.data.augmentation.base import Each, normal, uniform
from transferlab.errors import InputError
from transferlab.inputs.base import Input
from transferlab.values import Value


@dataclass(frozen=True)
class GaussianNoise:
    """Adds independent normal noise to every number of normalised images or rows.

    Vincent et al. 2010, "Stacked Denoising Autoencoders" (JMLR 11), section 3.3. Under `task=reconstruction` the labels
    stay without noise.

    Args:
        std: of the noise, above 0, on the scale of normalised inputs.
    """

    std: float
    normalised: ClassVar[bool] = True
    costly: ClassVar[bool] = False

    def prepared(self, key: str, input: Input, y: Tensor) -> Each:  # noqa: D102
        _check_numbers(key, input)
        if self.std <= 0:
            raise InputError(f"{key}.std={self.std}: a number above 0")
        return self

    def __call__(self, x: Value, y: Tensor, seeds: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W) or rows (B, D), floats."""
        assert isinstance(x, Tensor)
        return x + self.std * normal(seeds, x[0].numel()).reshape(x.shape).to(x), y


@dataclass(frozen=True)
class MaskingNoise:
    """Sets a fixed share of the numbers of each normalised image or row to 0, drawn anew each time.

    Vincent et al. 2008, "Extracting and Composing Robust Features with Denoising Autoencoders" (ICML), section 2.3:
    their `nu * d` of d components. Under `task=reconstruction` the labels stay whole. 0 is the mean where
    inputs are standardised, and black where images are only scaled to [0, 1].

    Args:
        share: of the numbers, in (0, 1); rounded to a whole count.
    """

    share: float
    normalised: ClassVar[bool] = True
    costly: ClassVar[bool] = False

    def prepared(self, key: str, input: Input, y: Tensor) -> Each:  # noqa: D102
        numbers = _check_numbers(key, input)
        if not 0 < self.share < 1:
            raise InputError(f"{key}.share={self.share}: a share of the numbers in (0, 1)")
        if not 0 < round(self.share * numbers) < numbers:
            raise InputError(f"{key}.share={self.share}: of {numbers} numbers it must hide some and leave some")
        return self

    def __call__(self, x: Value, y: Tensor, seeds: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W) or rows (B, D), floats."""
        assert isinstance(x, Tensor)
        draws = uniform(seeds, x[0].numel()).to(x.device)
        # stable, so that equal draws are in the same order everywhere
        lost = draws.argsort(dim=1, stable=True)[:, : round(self.share * draws.shape[1])]
        hidden = torch.zeros_like(draws, dtype=torch.bool).scatter_(1, lost, True)
        return x.masked_fill(hidden.reshape(x.shape), 0), y


def _check_numbers(key: str, input: Input) -> int:
    """How many numbers an input has.

    Raises:
        InputError: it is no tensor of them.
    """
    example = input.example(1)
    if not isinstance(example, Tensor) or not example.is_floating_point():
        raise InputError(f"{key} changes images and tables, the backbone takes {input.kind}: choose augmentation=none")
    return example.numel()
