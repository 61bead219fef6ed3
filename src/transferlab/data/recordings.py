"""Sets of recordings: one folder a class, a manifest, and the free spoken digits."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import soundfile
import torch

from transferlab.data.audio import Reading, Waves
from transferlab.data.labels import check_known
from transferlab.data.samples import Splits
from transferlab.errors import InputError, unknown
from transferlab.inputs.origins import first_line

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
    label: str,
    split: str | None,
    in_memory: bool,
    expect_rate: int | None,
    channels: str,
) -> Splits:
    """Read the recordings that a CSV lists, one a row.

    Args:
        path: the CSV.
        root: the folder that its paths start from; None: the CSV's own.
        file: the column of paths.
        label: the column of classes.
        split: the column that says `train` or `test`; None: there is none, and test samples are cut from training.
        in_memory: see `Reading`.
        expect_rate: see `Reading`.
        channels: see `Reading`.

    A row whose class is empty is left out and counted.

    Raises:
        InputError: no such file or column, an empty cell, a recording that is missing, a class only in the test split.
    """
    reading = Reading(in_memory, expect_rate, channels)
    whole = _table(path)
    table = whole[whole[label].notna()] if label in whole else whole
    paths, labels = _column(table, file, "file", path), _column(table, label, "label", path)
    splits = _column(table, split, "split", path) if split else ["train"] * len(table)
    base = Path(root) if root else Path(path).parent
    for line, name, part in zip(table.index + 2, paths, splits, strict=True):
        if not (base / name).is_file():
            raise InputError(f"{path}, line {line}: there is no file {base / name}; correct the row or set root")
        if part not in ("train", "test"):
            raise InputError(f"{path}, line {line}: column '{split}' says '{part}'; it says train or test")
    rows = list(zip([str(base / name) for name in paths], labels, splits, strict=True))
    classes = sorted({name for _, name, part in rows if part == "train"})
    check_known((name for _, name, _ in rows), classes, f"the test split of {path}", "its training split")
    if not classes:
        raise InputError(f"{path} lists no labelled recordings to train on")
    chosen = {part: [(name, classes.index(y)) for name, y, p in rows if p == part] for part in ("train", "test")}
    test = _waves(chosen["test"], reading) if chosen["test"] else None
    return Splits(_waves(chosen["train"], reading), test, tuple(classes), len(whole) - len(table))


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


def _table(path: str) -> Any:
    """A CSV, its cells as they are written."""
    if not Path(path).is_file():
        raise InputError(f"target.data.path={path}: there is no such file")
    try:
        table = pd.read_csv(path, dtype=str)
    except (ValueError, OSError) as error:  # among them pandas' own errors and those of the encoding
        raise InputError(f"{path} is no readable CSV: {first_line(error)}") from error
    if not len(table):
        raise InputError(f"{path} holds no rows")
    return table


def _column(table: Any, name: str, key: str, path: str) -> list[str]:
    if name not in table:
        raise InputError(f"target.data.{key}={name}: {path} has no such column (it has: {', '.join(table.columns)})")
    column = table[name]
    if column.isna().any():
        raise InputError(
            f"{path}, line {column.index[column.isna().argmax()] + 2}: column '{name}' is empty; fill or remove it"
        )
    cells: list[str] = column.str.strip().tolist()
    return cells
