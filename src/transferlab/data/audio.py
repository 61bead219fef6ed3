"""Labelled sound files: read when a batch asks for them, or once at the start."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor

from transferlab.data.ragged import Ragged
from transferlab.errors import InputError
from transferlab.inputs.audio import HIGHEST_RATE, LOWEST_RATE, AudioInput
from transferlab.inputs.base import Input, expect
from transferlab.values import Seq

# As libsndfile names them: files of these formats are whole again after 16 bits.
_SIXTEEN_BITS = frozenset({"PCM_16", "PCM_S8", "PCM_U8", "ULAW", "ALAW"})


@dataclass(frozen=True)
class Reading:
    """How sound files are read.

    Args:
        in_memory: read and resample once, at the start; False: whenever a batch asks for them.
        expect_rate: the samples a second that every file must have; None: any, and they are resampled.
        channels: `mix`: several are averaged; `refuse`: a file with more than one is an error.
    """

    in_memory: bool
    expect_rate: int | None
    channels: str

    def __post_init__(self) -> None:
        if self.channels not in ("mix", "refuse"):
            raise InputError(f"target.data.channels={self.channels}: mix or refuse")

    def check(self, file: str, rate: int, channels: int, frames: int) -> None:
        """Hold what a file's header says against what is wanted.

        Raises:
            InputError: no samples, another rate than expected or an absurd one, too many channels.
        """
        if frames == 0:
            raise InputError(f"{file} is an empty recording; remove it")
        if not LOWEST_RATE <= rate <= HIGHEST_RATE:
            raise InputError(
                f"{file} says that it has {rate} samples a second, sound has {LOWEST_RATE} to {HIGHEST_RATE}; "
                "repair its header or remove it"
            )
        if self.expect_rate not in (None, rate):
            raise InputError(
                f"{file} has {rate} samples a second, target.data.expect_rate={self.expect_rate}; "
                "resample the file, or set expect_rate=null and it is done here"
            )
        if channels > 1 and self.channels == "refuse":
            raise InputError(f"{file} has {channels} channels, target.data.channels=refuse; mix them, or set mix")


@dataclass(frozen=True)
class Waves:
    """Labelled recordings in files, mixed to one channel.

    Attributes:
        files: of the whole set.
        y: labels (N, ...).
        places: of each sample among the files, (N,).
        reading: how.
        input: what a net takes; None: not known yet.
    """

    files: tuple[str, ...]
    y: Tensor
    places: Tensor
    reading: Reading
    input: AudioInput | None = None

    @classmethod
    def of(cls, files: Sequence[str], y: Tensor, reading: Reading) -> "Waves":
        """All files of a set."""
        return cls(tuple(files), y, torch.arange(len(y)), reading)

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, indices: Sequence[int]) -> tuple[Seq, Tensor]:
        index = torch.as_tensor(indices)
        waves = [self._heard(place) for place in self.places[index].tolist()]
        return Ragged.of(_of_one_kind(waves), self.y[index])[range(len(waves))]

    def take(self, indices: Tensor) -> "Waves":  # noqa: D102
        return replace(self, y=self.y[indices], places=self.places[indices])

    def relabelled(self, y: Tensor) -> "Waves":  # noqa: D102
        return replace(self, y=y)

    def prepared(self, input: Input) -> "Waves | Ragged":  # noqa: D102
        audio = expect(
            input, AudioInput, "sound", "choose one for sound: backbone=wav2vec2 or input@backbone.input=log_mel"
        )
        ready = replace(self, input=audio)
        if not self.reading.in_memory:
            return ready
        return Ragged.of(_of_one_kind([ready._heard(place) for place in self.places.tolist()]), self.y)

    def digests(self) -> list[bytes]:
        """Of each file's bytes."""
        return self._digests

    def place(self, index: int) -> str:
        """The file."""
        return self.files[int(self.places[index])]

    def fingerprint(self) -> str:
        """Of the files' bytes and the labels."""
        digest = hashlib.blake2b(b"".join(self._digests), digest_size=8)
        digest.update(self.y.contiguous().numpy().tobytes())
        return digest.hexdigest()

    @cached_property
    def _digests(self) -> list[bytes]:
        """Of each file; a broken one is found here, before training."""
        return [self._digest(self.files[place]) for place in self.places.tolist()]

    def _digest(self, file: str) -> bytes:
        content = _bytes(file)
        with _opened(file, io.BytesIO(content)) as sound:
            self.reading.check(file, sound.samplerate, sound.channels, sound.frames)
        return hashlib.blake2b(content, digest_size=16).digest()

    def _heard(self, place: int) -> Tensor:
        """One recording at the net's rate, (T,): int16 where its file holds no more, else float32."""
        if self.input is None:
            raise RuntimeError("recordings are fetched after `prepared(input)`")
        file, rate, length = self.files[place], self.input.rate, self.input.length
        with _opened(file, io.BytesIO(_bytes(file))) as sound:
            self.reading.check(file, sound.samplerate, sound.channels, sound.frames)
            wanted = -1 if length is None else ceil(length * sound.samplerate / rate)
            wave = _mixed(file, sound, wanted)
            if sound.samplerate != rate:
                wave = soxr.resample(wave, sound.samplerate, rate)
            whole = sound.subtype in _SIXTEEN_BITS
        if not len(wave):
            raise InputError(f"{file} is shorter than one sample at backbone.input.rate={rate}; remove it")
        # in NumPy: torch's threads cost more than a short wave's whole work
        found = _rounded(wave[:length]) if whole else wave[:length]
        return torch.from_numpy(found)


def _bytes(file: str) -> bytes:
    if not Path(file).is_file():
        raise InputError(f"there is no file {file}; put it there or take it out of the set")
    return Path(file).read_bytes()


def _opened(file: str, content: io.BytesIO) -> Any:
    try:
        return soundfile.SoundFile(content)
    except soundfile.SoundFileError as error:
        raise _broken(file, error) from error


def _mixed(file: str, sound: Any, frames: int) -> NDArray[np.float32]:
    """The first frames of an open file, (T,), the mean of its channels."""
    try:
        wave: NDArray[np.float32] = sound.read(frames, dtype="float32", always_2d=True).mean(1)
    except soundfile.SoundFileError as error:
        raise _broken(file, error) from error
    if not (finite := np.isfinite(wave)).all():
        raise InputError(f"{file} holds NaN or infinity at sample {int((~finite).argmax())}; repair or remove it")
    return wave


def _rounded(wave: NDArray[np.float32]) -> NDArray[np.int16]:
    """Whole numbers of 16 bits; what a file of that format says is kept exactly."""
    return np.rint(wave * 2**15).clip(-(2**15), 2**15 - 1).astype(np.int16)


def _broken(file: str, error: Exception) -> InputError:
    return InputError(f"{file} is no readable sound file: {str(error).rstrip('.')}; repair or remove it")


def _of_one_kind(waves: Sequence[Tensor]) -> list[Tensor]:
    """All of them float32 if any is."""
    if all(wave.dtype == torch.int16 for wave in waves):
        return list(waves)
    return [wave.float() / 2**15 if wave.dtype == torch.int16 else wave for wave in waves]
