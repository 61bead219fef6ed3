"""Spectra of sound with bands and spans of time blotted out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from transferlab.data.augmentation.base import Each, uniform
from transferlab.errors import InputError
from transferlab.inputs.audio import AudioInput, MelInput
from transferlab.inputs.base import Input
from transferlab.values import Seq, Value


@dataclass(frozen=True)
class SpecAugment:
    """Sets neighbouring bands and neighbouring frames of normalised log-mel spectra to 0, which is their mean.

    Park et al. 2019 (https://arxiv.org/abs/1904.08779), section 2, without time warping. Widths are shares here, so
    that they hold for any number of bands and any length.

    Args:
        frequency_masks: how many spans of bands.
        frequency_share: of the bands that one of them has at most, in [0, 1]; its width is uniform from 0 on.
        time_masks: how many spans of frames.
        time_share: of a recording's frames, likewise; an image is one recording from edge to edge.
    """

    frequency_masks: int
    frequency_share: float
    time_masks: int
    time_share: float
    normalised: ClassVar[bool] = True
    costly: ClassVar[bool] = False

    def prepared(self, key: str, input: Input, y: Tensor) -> Each:  # noqa: D102
        if not isinstance(input, MelInput):
            other = "input@backbone.input=log_mel" if isinstance(input, AudioInput) else "augmentation=none"
            what = "waves" if isinstance(input, AudioInput) else input.kind
            raise InputError(f"{key} changes log-mel spectra, the backbone takes {what}: choose {other}")
        for name, share in (("frequency_share", self.frequency_share), ("time_share", self.time_share)):
            if not 0 <= share <= 1:
                raise InputError(f"{key}.{name}={share}: a share in [0, 1]")
        if min(self.frequency_masks, self.time_masks) < 0:
            raise InputError(f"{key}: frequency_masks={self.frequency_masks}, time_masks={self.time_masks}: at least 0")
        return self

    def __call__(self, x: Value, y: Tensor, seeds: Sequence[int]) -> tuple[Value, Tensor]:
        """Frames (B, T, bands), or images (B, 1, bands, T)."""
        if isinstance(x, Seq):
            bands, frames = self._spans(x.h.shape[2], x.h.shape[1], x.mask.sum(1).cpu(), seeds)
            hidden = (frames[:, :, None] | bands[:, None]).to(x.h.device)
            return Seq(x.h.masked_fill(hidden, 0), x.mask), y
        assert isinstance(x, Tensor)
        bands, frames = self._spans(x.shape[2], x.shape[3], torch.tensor([x.shape[3]] * len(x)), seeds)
        hidden = (bands[:, None, :, None] | frames[:, None, None]).to(x.device)
        return x.masked_fill(hidden, 0), y

    def _spans(self, bands: int, frames: int, lengths: Tensor, seeds: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Which bands (B, bands) and which frames (B, frames) are hidden."""
        spans = self.frequency_masks + self.time_masks
        draws = uniform(seeds, 2 * spans).reshape(len(seeds), spans, 2)
        of_bands, of_frames = draws[:, : self.frequency_masks], draws[:, self.frequency_masks :]
        return (
            _spans(of_bands, torch.tensor([bands] * len(seeds)), self.frequency_share, bands),
            _spans(of_frames, lengths, self.time_share, frames),
        )


def _spans(draws: Tensor, lengths: Tensor, share: float, size: int) -> Tensor:
    """Whether each of `size` places lies in a span, (B, size).

    Args:
        draws: for each span its width and its start, in [0, 1), (B, spans, 2).
        lengths: places that there are, (B,).
        share: of them that a span has at most.
        size: the most that there are.
    """
    lengths = lengths[:, None]
    widths = (draws[..., 0] * ((share * lengths).long() + 1)).long()
    starts = (draws[..., 1] * (lengths - widths)).long()
    places = torch.arange(size)
    inside = (places >= starts[..., None]) & (places < (starts + widths)[..., None])
    return inside.any(1)
