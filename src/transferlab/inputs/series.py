"""Time series, and whatever else comes as a sequence of frames."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch

from transferlab.errors import InputError, unknown
from transferlab.inputs.base import Input
from transferlab.values import Seq, Value, masked_mean

# A channel that never changes is centred and not blown up.
_SMALLEST_DEVIATION = 1e-6


@runtime_checkable
class Frames(Protocol):
    """An input whose batches are sequences of frames (B, T, channels), of whatever origin."""

    @property
    def channels(self) -> int:
        """Numbers in a frame."""
        ...


@dataclass(frozen=True)
class SeriesInput:
    """Time series of C channels, (B, T, C) with the mask of their real steps.

    Args:
        channels: C.
        length: steps that every series is brought to; None: as many as it has.
        fit: how: `resample` (linear interpolation between its first step and its last), or `crop` (the first `length`
            steps; a shorter series stays as it is).
        normalise: `none`, or `per_series`: each channel of each series to mean 0 and deviation 1 over its real steps.

    Raises:
        InputError: a number below 1, or a word that is none of these.
    """

    channels: int
    length: int | None
    fit: str
    normalise: str

    def __post_init__(self) -> None:
        for key, number in (("channels", self.channels), ("length", self.length)):
            if number is not None and number < 1:
                raise InputError(f"backbone.input.{key}={number}: at least 1")
        for key, word, known in (
            ("fit", self.fit, ("resample", "crop")),
            ("normalise", self.normalise, ("none", "per_series")),
        ):
            if word not in known:
                raise unknown(f"backbone.input.{key}", word, known)

    @property
    def kind(self) -> str:
        """Series."""
        return "series"

    def normalised(self, x: Value) -> Seq:
        """Each series for itself, on the device; padded steps are 0."""
        assert isinstance(x, Seq)
        h, mask = x.h.float(), x.mask[..., None]
        if self.normalise == "per_series":
            h = h - masked_mean(Seq(h, x.mask))[:, None]
            deviation = masked_mean(Seq(h.square(), x.mask))[:, None].sqrt()
            h = h / deviation.clamp_min(_SMALLEST_DEVIATION)
        return Seq(h.masked_fill(~mask, 0), x.mask)

    def example(self, count: int) -> Seq:
        """Gaussian noise of at most 32 steps, each series three shorter than the one before."""
        steps = min(32, self.length or 32)
        lengths = (steps - 3 * torch.arange(count)).clamp_min(1)
        h = torch.randn(count, steps, self.channels, generator=torch.Generator().manual_seed(0))
        mask = torch.arange(steps) < lengths[:, None]
        return Seq(h.masked_fill(~mask[..., None], 0), mask)


def channels_of(input: Input, net: str) -> int:
    """How many channels the frames have that a net is to take.

    Raises:
        InputError: the input gives no frames.
    """
    if not isinstance(input, Frames):
        raise InputError(
            f"backbone '{net}' takes series, its input gives {input.kind}: set input@backbone.input=series"
        )
    return input.channels
