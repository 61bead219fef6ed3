"""Log-mel spectra: the energies of short pieces of a wave in bands as wide as the ear hears them."""

import warnings
from functools import lru_cache

import torch
from torch import Tensor
from transformers.audio_utils import mel_filter_bank

_FLOOR = 2.0**-23
"""The least energy of a band, Kaldi's: float32's resolution."""
_PREEMPHASIS = 0.97


def log_mel(wave: Tensor, rate: int, bands: int, window: float, hop: float, lowest: float) -> Tensor:
    """The logarithm of the energy in each mel band and each frame, as Kaldi's `fbank` computes it.

    A frame loses its mean, is pre-emphasised and tapered by a Hann window; nothing is padded, so that the last frame
    ends before the wave does.

    Args:
        wave: samples in [-1, 1], (B, T) with at least one window of them.
        rate: samples a second.
        bands: M, how many.
        window: length of a frame in milliseconds.
        hop: from one frame to the next, in milliseconds.
        lowest: where the first band begins, in Hz; the last ends at half the rate.

    Returns:
        Natural logarithms, (B, frames, M); `frames_of` says how many.
    """
    length, step = samples(window, rate), samples(hop, rate)
    pieces = wave.unfold(1, length, step)
    pieces = pieces - pieces.mean(-1, keepdim=True)
    before = torch.cat([pieces[..., :1], pieces[..., :-1]], -1)
    tapered = (pieces - _PREEMPHASIS * before) * torch.hann_window(length, periodic=False, device=wave.device)
    size = _power_of_two(length)
    power = torch.fft.rfft(tapered, size).abs().square()
    logarithms: Tensor = (power @ _filters(rate, bands, size, lowest).to(wave.device)).clamp_min(_FLOOR).log()
    return logarithms


def frames_of(lengths: Tensor, rate: int, window: float, hop: float) -> Tensor:
    """How many frames waves of these lengths have, (B,); one that is shorter than a window has one."""
    length, step = samples(window, rate), samples(hop, rate)
    return (lengths - length).clamp_min(0) // step + 1


def samples(milliseconds: float, rate: int) -> int:
    """How many samples a piece of time has."""
    return round(milliseconds * rate / 1000)


@lru_cache(maxsize=8)
def _filters(rate: int, bands: int, size: int, lowest: float) -> Tensor:
    """Triangles in mel space, (size / 2 + 1, bands)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of bands narrower than a bin, which the published AST nets have too
        found = mel_filter_bank(
            num_frequency_bins=size // 2 + 1,
            num_mel_filters=bands,
            min_frequency=lowest,
            max_frequency=rate // 2,
            sampling_rate=rate,
            norm=None,
            mel_scale="kaldi",
            triangularize_in_mel_space=True,
        )
    return torch.from_numpy(found).float()


def _power_of_two(length: int) -> int:
    return int(2 ** (length - 1).bit_length())
