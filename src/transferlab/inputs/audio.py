"""Sound: waves as they are, or their log-mel spectra as images or as sequences of frames."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from transferlab.errors import InputError
from transferlab.inputs.base import Shape
from transferlab.inputs.mel import frames_of, log_mel, samples
from transferlab.inputs.origins import first_line, located
from transferlab.values import Seq, Value

LOWEST_RATE, HIGHEST_RATE = 1_000, 384_000
_EXAMPLE_SECONDS = 0.25
_TINY = 1e-7
"""Added to a variance before its root is taken, as wav2vec 2.0's own feature extractor does."""


@dataclass(frozen=True)
class AudioInput:
    """What all nets for sound have in common.

    Args:
        rate: samples a second; files of another rate are resampled.
        seconds: how much of a recording is heard, from its start; None: all.

    Raises:
        InputError: numbers that make no sense.
    """

    rate: int
    seconds: float | None

    def __post_init__(self) -> None:
        if not LOWEST_RATE <= self.rate <= HIGHEST_RATE:
            raise InputError(f"backbone.input.rate={self.rate}: from {LOWEST_RATE} to {HIGHEST_RATE} samples a second")
        if self.seconds is not None and self.seconds <= 0:
            raise InputError(f"backbone.input.seconds={self.seconds}: more than 0, or null for whole recordings")

    @property
    def kind(self) -> str:
        """Sound."""
        return "sound"

    @property
    def length(self) -> int | None:
        """How many samples of a recording are heard at most; None: all."""
        return None if self.seconds is None else max(1, round(self.seconds * self.rate))

    @property
    def shape(self) -> Shape:
        """Of an image, for nets that take images.

        Raises:
            InputError: this sound is no image.
        """
        raise InputError(
            "the backbone takes images, backbone.input gives sequences: choose input@backbone.input=log_mel"
        )

    @property
    def channels(self) -> int:
        """Of a frame, for nets that take sequences of frames.

        Raises:
            InputError: this sound has no frames.
        """
        raise InputError(
            "the backbone takes sequences of frames, which backbone.input does not give: "
            "choose input@backbone.input=mel_frames"
        )

    def normalised(self, x: Value) -> Value:  # noqa: D102
        raise NotImplementedError

    def example(self, count: int) -> Any:
        """Noise (count, T) of different lengths, a quarter of a second at most, as the net takes it."""
        length = min(round(_EXAMPLE_SECONDS * self.rate), self.length or HIGHEST_RATE)
        wave = torch.rand(count, length, generator=torch.Generator().manual_seed(0)) - 0.5
        ends = torch.linspace(length, 0.8 * length, count).round()
        mask = torch.arange(length) < ends[:, None]
        return self.normalised(Seq(wave * mask, mask))


@dataclass(frozen=True)
class WaveInput(AudioInput):
    """Waves (B, T) in [-1, 1] with their mask; behind a shorter one's end stand zeros.

    Args:
        normalise: bring each recording to mean 0 and variance 1 over its own samples (Baevski et al. 2020,
            "wav2vec 2.0", section 4.2 normalise what the net sees; the published nets say in their
            `preprocessor_config.json` whether they want it).
    """

    normalise: bool

    def normalised(self, x: Value) -> Seq:
        """Scaled by their format's maximum, then by their own mean and deviation."""
        wave = _floats(x)
        if not self.normalise:
            return wave
        mean, variance = _moments(wave)
        return Seq(((wave.h - mean) / (variance + _TINY).sqrt()) * wave.mask, wave.mask)


@dataclass(frozen=True)
class MelInput(AudioInput):
    """Log-mel spectra: an image (B, 1, bands, frames) of fixed size, or a sequence of frames (B, T, bands).

    Args:
        layout: `image`, which `seconds` makes of one size, padded or cropped; or `frames`.
        bands: how many, at equal distances in mel.
        window: length of a frame in milliseconds.
        hop: from one frame to the next, in milliseconds.
        lowest: where the first band begins, in Hz; the last ends at half the rate.
        mean: of the logarithms; None: each recording's own.
        std: likewise.
        padding: the logarithm behind a recording's end; None: the mean.
    """

    layout: str
    bands: int
    window: float
    hop: float
    lowest: float
    mean: float | None
    std: float | None
    padding: float | None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layout not in ("image", "frames"):
            raise InputError(f"backbone.input.layout={self.layout}: image or frames")
        if self.layout == "image" and self.seconds is None:
            raise InputError("backbone.input.seconds=null: an image has a fixed size, so say how many seconds it shows")
        if self.bands < 1 or not 0 <= self.lowest < self.rate / 2:
            raise InputError(
                f"backbone.input.bands={self.bands} from backbone.input.lowest={self.lowest} Hz: at least one band, "
                f"which begins between 0 and half the rate, {self.rate // 2}"
            )
        if min(samples(self.window, self.rate), samples(self.hop, self.rate)) < 1:
            raise InputError(
                f"backbone.input.window={self.window} and hop={self.hop} milliseconds: at least one sample of "
                f"rate={self.rate} each"
            )
        if (self.mean is None) != (self.std is None):
            raise InputError("backbone.input.mean and backbone.input.std belong together: give both, or null for both")

    @property
    def shape(self) -> Shape:
        """(1, bands, frames) of the image."""
        if self.layout != "image":
            return super().shape
        return (1, self.bands, int(self._frames(torch.tensor(self.length))))

    @property
    def channels(self) -> int:
        """The bands of a frame."""
        return super().channels if self.layout != "frames" else self.bands

    def normalised(self, x: Value) -> Tensor | Seq:
        """Bands of each frame, scaled by the given mean and deviation or the recording's own."""
        window = samples(self.window, self.rate)
        wave = _fitted(_floats(x), max(window, self.length or 0) if self.layout == "image" else window, self.length)
        spectrum = log_mel(wave.h, self.rate, self.bands, self.window, self.hop, self.lowest)
        real = self._frames(wave.mask.sum(1))
        mask = torch.arange(spectrum.shape[1], device=real.device) < real[:, None]
        h = self._scaled(Seq(spectrum, mask))
        return h.transpose(1, 2)[:, None] if self.layout == "image" else Seq(h, mask)

    def _frames(self, lengths: Tensor) -> Tensor:
        return frames_of(lengths, self.rate, self.window, self.hop)

    def _scaled(self, spectrum: Seq) -> Tensor:
        own, variance = _moments(spectrum)
        mean = own if self.mean is None else torch.full_like(own, self.mean)
        std = (variance + _TINY).sqrt() if self.std is None else torch.full_like(own, self.std)
        behind = torch.zeros_like(own) if self.padding is None else (self.padding - mean) / std
        return torch.where(spectrum.mask[..., None], (spectrum.h - mean) / std, behind)


def published(origin: str | None, seconds: float | None) -> AudioInput:
    """What a published net takes, as the `preprocessor_config.json` beside it says.

    Args:
        origin: a hub id, a folder or `package:NAME/FOLDER`.
        seconds: how much of a recording is heard at most; spectra have the length that the net was published with.

    Raises:
        InputError: nothing lies there, or it is not about sound.
    """
    from transformers import ASTFeatureExtractor, AutoFeatureExtractor, Wav2Vec2FeatureExtractor  # slow to import

    if origin is None:
        raise InputError("backbone.input.origin=null: give the net's hub id or folder, or choose another input")
    try:
        extractor: Any = AutoFeatureExtractor
        found = extractor.from_pretrained(located(origin), trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"backbone.input.origin={origin} has no preprocessor_config.json: {first_line(error)}"
        ) from error
    if isinstance(found, Wav2Vec2FeatureExtractor):
        return WaveInput(found.sampling_rate, seconds, found.do_normalize)
    if not isinstance(found, ASTFeatureExtractor):
        raise InputError(
            f"backbone.input.origin={origin} is read by {type(found).__name__}, which is not for these nets"
        )
    window, hop, rate = 25, 10, found.sampling_rate
    length = samples(window, rate) + (found.max_length - 1) * samples(hop, rate)
    mean, std = (found.mean, 2 * found.std) if found.do_normalize else (0.0, 1.0)
    return MelInput(rate, length / rate, "image", found.num_mel_bins, window, hop, 20, mean, std, 0.0)


def _floats(x: Value) -> Seq:
    """Samples in [-1, 1], whatever they were stored as."""
    assert isinstance(x, Seq)
    return Seq(x.h.float().div_(2**15) if x.h.dtype == torch.int16 else x.h.float(), x.mask)


def _fitted(wave: Seq, least: int, most: int | None) -> Seq:
    """Padded to at least so many samples, cut to at most so many."""
    missing = max(0, least - wave.h.shape[1])
    h, mask = (torch.nn.functional.pad(part[:, :most], (0, missing)) for part in wave)
    return Seq(h, mask)


def _moments(value: Seq) -> tuple[Tensor, Tensor]:
    """Mean and variance of each recording over all that is real, shaped to be broadcast."""
    mask = value.mask.reshape(*value.mask.shape, *[1] * (value.h.ndim - 2)).expand_as(value.h)
    axes = tuple(range(1, value.h.ndim))
    count = mask.sum(axes, keepdim=True)
    mean = (value.h * mask).sum(axes, keepdim=True) / count
    return mean, ((value.h - mean).square() * mask).sum(axes, keepdim=True) / count
