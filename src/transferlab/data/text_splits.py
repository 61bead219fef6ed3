"""From texts and labels as a file has them to a labelled set, with a sentence for whatever is wrong with them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from transferlab.data.labels import ordered
from transferlab.data.samples import Splits
from transferlab.data.text import Corpus, Place, Texts
from transferlab.errors import InputError

Labels: TypeAlias = Sequence[str] | Tensor
"""Names of classes, one a text; or numbers (N,) or (N, K), NaN where one is missing."""


@dataclass(frozen=True)
class Read:
    """A split as it was read.

    Attributes:
        texts: N of them.
        seconds: the second text of each pair, or None.
        labels: of each text.
        place: where each stands.
        origin: the file or folder.
        unlabelled: how many texts were left out because they have no class.
    """

    texts: Sequence[str]
    seconds: Sequence[str] | None
    labels: Labels
    place: Place
    origin: str
    unlabelled: int = 0


def text_splits(train: Read, test: Read | None, outputs: Sequence[str], cache: str | None) -> Splits:
    """Samples of what was read.

    Args:
        train: labelled texts.
        test: likewise, or None.
        outputs: names of the classes in their order, or of the numbers; empty: the classes that training has.
        cache: the folder for tokens, or None.

    Raises:
        InputError: no texts, an empty one, or a class that training lacks.
    """
    for part in (train, test):
        if part is not None:
            _check_texts(part)
    names = tuple(outputs) or (() if isinstance(train.labels, Tensor) else ordered(train.labels))
    samples = [_samples(part, train, names, cache) for part in (train, test) if part is not None]
    left_out = train.unlabelled + (test.unlabelled if test is not None else 0)
    return Splits(samples[0], samples[1] if test is not None else None, names, left_out)


def read_file(path: Path, encoding: str, key: str) -> str:
    """A whole text file.

    Args:
        path: of the file.
        encoding: e.g. `utf-8`, `latin-1`.
        key: what sets the path, for the message.

    Raises:
        InputError: no such file, an encoding that is none, or bytes that are not in it.
    """
    if not path.is_file():
        raise InputError(f"{key}: there is no file {path}")
    try:
        return path.read_bytes().decode(encoding)
    except (UnicodeDecodeError, LookupError) as error:
        raise undecodable(path, encoding, error) from error


def undecodable(path: Path, encoding: str, error: Exception) -> InputError:
    """The error for a file in another encoding."""
    return InputError(f"{path} is not in encoding={encoding} ({error}); set target.data.encoding, e.g. to latin-1")


def row(origin: str, rows: Sequence[int], number: int) -> str:
    """Where the text of a number stands, once others were left out: a `Place`, when the first two are filled in."""
    return f"{origin}, row {rows[number] + 1}"


def _check_texts(part: Read) -> None:
    if not part.texts:
        raise InputError(f"{part.origin} holds no texts")
    for texts in (part.texts, part.seconds or ()):
        for number, text in enumerate(texts):
            if not text.strip():
                raise InputError(f"{part.place(number)} has an empty text; fill or remove it")


def _samples(part: Read, train: Read, names: Sequence[str], cache: str | None) -> Texts:
    corpus = Corpus(part.texts, part.seconds, part.place, cache)
    if isinstance(part.labels, Tensor):
        return Texts.of(corpus, part.labels)
    number = {name: label for label, name in enumerate(names)}
    for position, label in enumerate(part.labels):
        if label not in number:
            raise InputError(f"{part.place(position)} has the class '{label}', which {train.origin} lacks")
    return Texts.of(corpus, torch.tensor([number[label] for label in part.labels]))
