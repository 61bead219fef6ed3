"""Time series in the `.ts` files of the UEA and UCR archives."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from transferlab.data.samples import Splits
from transferlab.data.series import Series, Steps, gathered
from transferlab.errors import InputError

_UNKNOWN = {"?", "nan", "NaN"}


@dataclass(frozen=True)
class TsFile:
    """What a file holds.

    Attributes:
        series: (T_i, C), NaN where nothing was measured.
        labels: of each series, as written.
        names: of each series, for messages: file and line.
        classes: those that the header lists, maybe none; None: the labels are numbers to predict.
    """

    series: Sequence[Steps]
    labels: Sequence[str]
    names: Sequence[str]
    classes: tuple[str, ...] | None


def ts_file(path: str, test: str | None, missing: str) -> Splits:
    """Read labelled series, as http://www.timeseriesclassification.com publishes them.

    A header (`@classLabel true A B` or `@targetLabel true`), `@data`, and a line a series: its channels parted by
    colons, a channel's steps by commas, `?` for one that was not measured, and last the label, `?` where it is
    missing: a series without a class is left out and counted. Series may differ in length; the channels of one may
    not. Steps with time stamps are not read.

    Args:
        path: the training file, NAME_TRAIN.ts.
        test: the test file, NAME_TEST.ts; None: there is none.
        missing: see `series.filled`.

    Raises:
        InputError: no such file, a line that cannot be read, no labels, or a class that has no series in training.
    """
    training, left_out = _labelled(read(path, "path"), path)
    tested, more = _labelled(read(test, "test"), test) if test is not None else (None, 0)
    if tested is not None and (training.classes is None) != (tested.classes is None):
        raise InputError(f"{path} and {test}: one has classes, the other has numbers to predict")
    if training.classes is None:
        names: tuple[str, ...] = ("target",)
    else:
        names = training.classes or tuple(sorted(set(training.labels)))
    splits = [_samples(file, training, names, missing) for file in (training, tested) if file is not None]
    return Splits(splits[0], splits[1] if tested is not None else None, names, left_out + more)


def read(path: str, key: str) -> TsFile:
    """Parse one file.

    Raises:
        InputError: as `ts_file`.
    """
    if not Path(path).is_file():
        raise InputError(f"target.data.{key}={path}: there is no such file")
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text, so no .ts file: {error}") from error
    numbered = [(number, line.strip()) for number, line in enumerate(lines, start=1)]
    told = [(number, line) for number, line in numbered if line and not line.startswith("#")]
    start = next((place for place, (_, line) in enumerate(told) if line.lower() == "@data"), None)
    if start is None:
        raise InputError(f"{path} has no line '@data': is it a .ts file?")
    classes = _header([line for _, line in told[:start]], path)
    names = [f"{path}, line {number}" for number, _ in told[start + 1 :]]
    if not names:
        raise InputError(f"{path} holds no series")
    rows = [_row(line, name) for (_, line), name in zip(told[start + 1 :], names, strict=True)]
    return TsFile([steps for steps, _ in rows], [label for _, label in rows], names, classes)


def _labelled(file: TsFile, path: str) -> tuple[TsFile, int]:
    """Without the series that have no class, and how many these are; a missing number stays."""
    if file.classes is None or "?" in file.classes:
        return file, 0
    kept = [number for number, label in enumerate(file.labels) if label != "?"]
    if not kept:
        raise InputError(f"{path} has no series with a class")
    series, labels = [file.series[number] for number in kept], [file.labels[number] for number in kept]
    return TsFile(series, labels, [file.names[number] for number in kept], file.classes), len(file.labels) - len(kept)


def _header(lines: Sequence[str], path: str) -> tuple[str, ...] | None:
    """The classes that a header lists; None where labels are numbers."""
    told = {word.lower(): rest.split() for word, _, rest in (line.partition(" ") for line in lines)}

    def says(key: str) -> bool:
        return [word.lower() for word in told.get(key, [])[:1]] == ["true"]

    if says("@timestamps"):
        raise InputError(f"{path} has time stamps (@timeStamps true), which are not read; write one value a step")
    if says("@targetlabel"):
        return None
    if not says("@classlabel"):
        raise InputError(f"{path} has no labels: its header says neither '@classLabel true' nor '@targetLabel true'")
    return tuple(told["@classlabel"][1:])


def _row(line: str, name: str) -> tuple[Steps, str]:
    """Series (T, C) and label of a line."""
    *channels, label = (part.strip() for part in line.split(":"))
    if not channels or not label or "," in label:
        raise InputError(f"{name} has no label behind its last colon")
    try:
        read = [_numbers(channel) for channel in channels]
    except ValueError as error:
        raise InputError(f"{name}: {error}") from error
    if len(lengths := {len(channel) for channel in read}) > 1:
        raise InputError(
            f"{name}: its channels have {' and '.join(map(str, sorted(lengths)))} steps; all have the same"
        )
    return np.stack(read, 1), label


def _numbers(channel: str) -> Steps:
    words = [word.strip() for word in channel.split(",")] if channel else []
    return np.array(["nan" if word in _UNKNOWN else word for word in words], dtype=np.float32)


def _samples(file: TsFile, training: TsFile, names: tuple[str, ...], missing: str) -> Series:
    # the test file's channels are held against the training file's too
    y = _targets(file) if training.classes is None else _class_numbers(file, training, names)
    if (found := file.series[0].shape[1]) != (wanted := training.series[0].shape[1]):
        raise InputError(f"{file.names[0]} has {found} channels, {training.names[0]} has {wanted}")
    return gathered(file.series, y, missing, file.names)


def _class_numbers(file: TsFile, training: TsFile, names: tuple[str, ...]) -> Tensor:
    seen = set(training.labels)
    for name, label in zip(file.names, file.labels, strict=True):
        if label not in names:
            raise InputError(f"{name}: class '{label}' is none of the training file's ({', '.join(names)})")
        if label not in seen:
            raise InputError(f"{name}: class '{label}' has no series in the training file; remove it from the test")
    return torch.tensor([names.index(label) for label in file.labels])


def _targets(file: TsFile) -> Tensor:
    try:
        return torch.from_numpy(np.concatenate([_numbers(label) for label in file.labels]))
    except ValueError as error:
        raise InputError(f"{file.names[0]} or below: the label is to be a number: {error}") from error
