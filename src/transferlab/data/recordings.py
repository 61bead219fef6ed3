"""Sets of recordings: one folder a class, a manifest, and the free spoken digits."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import soundfile
import torch

from transferlab.data.audio import Reading, Waves
from transferlab.data.labels import check_known
from transferlab.data.manifest import listed
from transferlab.data.samples import Splits
from transferlab.errors import InputError, unknown

_DIGIT = re.compile(r"(\d)_([^_]+)_(\d+)\.wav")
_PUBLISHED_TEST = 5
"""Recordings 0 to 4 of each digit and speaker are the published test split."""


def audio_folder(
    root: str, train: str | None, test: str | None, in_memory: bool, expect_rate: int | None, channels: str
) -> Splits:
    """Read `root/train/CLASS/*` and `root/test/CLASS/*`, or `root/CLASS/*` with `train: null`.

    Args:
        root: the folder.
        train: sub-folder of the training recordings; None if `root` itself holds the classes.
        test: sub-folder of the test recordings; where there is none, test samples are cut from training.
        in_memory: see `Reading`.
        expect_rate: see `Reading`.
        channels: see `Reading`.

    Raises:
        InputError: a folder is missing or empty, or the test split has a class that training lacks.
    """
    reading = Reading(in_memory, expect_rate, channels)
    base = Path(root) / train if train else Path(root)
    if not base.is_dir():
        raise InputError(f"target.data.root={root}: there is no folder {base}; set root, or train=null")
    classes = _folders(base)
    if not classes:
        raise InputError(f"{base} has no sub-folders: one a class is expected")
    held = Path(root) / test if train and test else None
    if held is None or not held.is_dir():
        return Splits(_folder(base, classes, reading), None, tuple(classes))
    check_known(_folders(held), classes, str(held), str(base))
    return Splits(_folder(base, classes, reading), _folder(held, classes, reading), tuple(classes))


def audio_manifest(
    path: str,
    root: str | None,
    file: str,
    label: str | Sequence[str],
    numbers: bool,
    separator: str | None,
    split: str | None,
    in_memory: bool,
    expect_rate: int | None,
    channels: str,
) -> Splits:
    """Read the recordings that a `.csv` or `.parquet` lists, one a row.

    Args:
        path: see `manifest.listed`, as are all to `split`.
        root: likewise.
        file: likewise.
        label: likewise.
        numbers: likewise.
        separator: likewise.
        split: likewise.
        in_memory: see `Reading`.
        expect_rate: see `Reading`.
        channels: see `Reading`.

    A row whose class is empty is left out and counted; of several labels or numbers an empty cell is a missing one.

    Raises:
        InputError: as `manifest.listed`.
    """
    reading = Reading(in_memory, expect_rate, channels)
    rows = listed(path, root, file, label, numbers, separator, split)
    return rows.splits(path, lambda files, y: Waves.of(files, y, reading))


def spoken_digits(
    root: str,
    train_speakers: Sequence[str] | None,
    test_speakers: Sequence[str] | None,
    in_memory: bool,
    expect_rate: int | None,
    channels: str,
) -> Splits:
    """Read the Free Spoken Digit Dataset: ten digits by six speakers, 50 times each, at 8 kHz.

    Args:
        root: the folder of `{digit}_{speaker}_{number}.wav`.
        train_speakers: whose recordings train; None: those of all who are not in `test_speakers`.
        test_speakers: whose recordings test; None: the published split of the training speakers, whose recordings 0 to
            4 of each digit test and whose others train.
        in_memory: see `Reading`.
        expect_rate: see `Reading`.
        channels: see `Reading`.

    Raises:
        InputError: no such folder or speaker, no speaker left to train on, or one who both trains and tests.
    """
    reading = Reading(in_memory, expect_rate, channels)
    digits = _digits(Path(root))
    speakers = sorted({digit.speaker for digit in digits})
    tested = set(test_speakers or ())
    trained = set(speakers) - tested if train_speakers is None else set(train_speakers)
    if missing := (trained | tested) - set(speakers):
        raise unknown("speaker", min(missing), speakers)
    if not trained or trained & tested:
        raise InputError(
            f"target.data.train_speakers={train_speakers} and test_speakers={test_speakers}: "
            f"at least one speaker trains, and none of them tests (there are: {', '.join(speakers)})"
        )
    if test_speakers is None:
        held = [digit for digit in digits if digit.speaker in trained and digit.number < _PUBLISHED_TEST]
    else:
        held = [digit for digit in digits if digit.speaker in tested]
    train = sorted({digit for digit in digits if digit.speaker in trained} - set(held))
    samples = [_waves([(digit.file, digit.label) for digit in part], reading) for part in (train, held)]
    return Splits(samples[0], samples[1], tuple("0123456789"))


class _Digit(NamedTuple):
    file: str
    label: int
    speaker: str
    number: int


def _digits(root: Path) -> list[_Digit]:
    named = [(str(file), found) for file in sorted(root.glob("*.wav")) if (found := _DIGIT.fullmatch(file.name))]
    if not named:
        raise InputError(f"target.data.root={root}: no spoken digits lie there ({{digit}}_{{speaker}}_{{number}}.wav)")
    return [_Digit(file, int(found[1]), found[2], int(found[3])) for file, found in named]


def _folders(base: Path) -> list[str]:
    return sorted(entry.name for entry in base.iterdir() if entry.is_dir())


def _folder(base: Path, classes: Sequence[str], reading: Reading) -> Waves:
    suffixes = {f".{kind.lower()}" for kind in soundfile.available_formats()}
    files = [
        (str(file), label)
        for label, name in enumerate(classes)
        for file in sorted((base / name).rglob("*"))
        if file.suffix.lower() in suffixes
    ]
    if not files:
        raise InputError(f"{base} holds no sound files (.wav, .flac, .ogg, .mp3, ...)")
    return _waves(files, reading)


def _waves(files: Sequence[tuple[str, int]], reading: Reading) -> Waves:
    return Waves.of([file for file, _ in files], torch.tensor([y for _, y in files], dtype=torch.int64), reading)
