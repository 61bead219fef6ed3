"""Texts with the texts that are to be written for them, as in translation or summarising."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from transferlab.data.duplicates import Identities
from transferlab.data.ragged import Ragged
from transferlab.data.samples import Splits
from transferlab.data.text import Corpus, Texts
from transferlab.data.text_files import read_table
from transferlab.data.vault import nothing
from transferlab.errors import InputError
from transferlab.inputs.base import Input, expect
from transferlab.inputs.text import TextInput
from transferlab.values import Value

IGNORED = -100
"""Stands behind a shorter text's end among labels that are token ids."""


@dataclass(frozen=True)
class Parallel:
    """Pairs of texts: those of a corpus at some positions, and what is to be written for them.

    Attributes:
        sources: what is read, shared by all parts of a split.
        targets: what is to be written.
        positions: of what is read, (N,).
        y: positions of what is to be written, (N, 1): token ids come with a backbone's tokenizer, in `prepared`.
    """

    sources: Corpus
    targets: Corpus
    positions: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, indices: Sequence[int]) -> tuple[Value, Tensor]:
        raise TypeError("texts are no batch for a net: call `prepared` first")

    def take(self, indices: Tensor) -> "Parallel":  # noqa: D102
        return replace(self, positions=self.positions[indices], y=self.y[indices])

    def relabelled(self, y: Tensor) -> "Parallel":  # noqa: D102
        return replace(self, y=y)

    def sealed(self) -> Texts:
        """The texts that are read, alone."""
        return Texts(self.sources, self.positions, nothing(len(self)))

    def prepared(self, input: Input) -> Ragged:
        """Token ids of both; the labels (N, T) are as wide as the longest, filled up with `IGNORED`."""
        texts = expect(input, TextInput, "texts", "choose an encoder-decoder, such as backbone=t5")
        ids = self.targets.tokens(texts)
        chosen = [ids.steps[start : start + length] for start, length in self._spans(ids)]
        y = pad_sequence([ended(one, texts) for one in chosen], batch_first=True, padding_value=IGNORED)
        return self.sources.tokens(texts).take(self.positions).relabelled(y)

    def fingerprint(self) -> str:  # noqa: D102
        parts = self.sources.fingerprint(self.positions.tolist()), self.targets.fingerprint(self.y[:, 0].tolist())
        return hashlib.blake2b(" ".join(parts).encode(), digest_size=8).hexdigest()

    def digests(self) -> list[bytes]:
        """A hash of each text that is read."""
        return [bytes.fromhex(self.sources.fingerprint([position])) for position in self.positions.tolist()]

    def identities(self) -> Identities:
        """Of each text that is read."""
        return self.sources.identities(self.positions.tolist())

    def place(self, index: int) -> str:
        """Where a pair stands."""
        return self.sources.place(int(self.positions[index]))

    def _spans(self, ids: Ragged) -> list[tuple[int, int]]:
        starts = ids.lengths.cumsum(0) - ids.lengths
        return [(int(starts[number]), int(ids.lengths[number])) for number in self.y[:, 0].tolist()]


def ended(ids: Tensor, input: TextInput) -> Tensor:
    """Ids (T,), int64, whose last is the tokenizer's mark of the end; no longer than the input's `max_length`."""
    end = torch.tensor([input.end])
    ids = ids.long()
    return ids if ids[-1] == input.end else torch.cat([ids[: input.max_length - 1], end])


def parallel_text(path: str, test: str | None, source: str, target: str, encoding: str, cache: str | None) -> Splits:
    """Read tables of pairs: `.csv`, `.tsv`, or `.jsonl` with one object a line.

    Args:
        path: the training split.
        test: the test split; None: it is cut from training.
        source: the column of texts that are read.
        target: the column of texts that are to be written.
        encoding: of the files.
        cache: the folder for tokens, or None.

    Raises:
        InputError: a file, column or text that is missing, or a file that cannot be read.
    """
    given = {"target.data.path": path} | ({"target.data.test": test} if test is not None else {})
    parts = [_read(Path(file), key, source, target, encoding, cache) for key, file in given.items()]
    return Splits(parts[0], parts[1] if test is not None else None, ())


def _read(path: Path, key: str, source: str, target: str, encoding: str, cache: str | None) -> Parallel:
    read = read_table(path, key, [source], [target], False, encoding, False)
    assert not isinstance(read.labels, Tensor)
    if not read.texts:
        raise InputError(f"{path} holds no texts")
    for column, texts in ((source, read.texts), (target, read.labels)):
        if empty := [number for number, text in enumerate(texts) if not text.strip()]:
            raise InputError(f"{read.place(empty[0])} has an empty text in column '{column}'; fill or remove it")
    every = torch.arange(len(read.texts))
    sources = Corpus(read.texts, None, read.place, cache)
    return Parallel(sources, Corpus(read.labels, None, read.place, cache), every, every[:, None])
