"""Sentences whose words are labelled one by one, for named entities or parts of speech."""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from transferlab.data.duplicates import Identities
from transferlab.data.ragged import Ragged
from transferlab.data.samples import Splits
from transferlab.data.text import Place, text_identities
from transferlab.data.text_splits import read_file
from transferlab.data.vault import hidden
from transferlab.errors import InputError
from transferlab.inputs.base import Input, expect
from transferlab.inputs.text import TextInput
from transferlab.values import Value

_log = logging.getLogger(__name__)

IGNORED = -100
"""The label of what no loss and no metric looks at: marks, further parts of a word, words without a label."""
_DOCUMENT = "-DOCSTART-"


@dataclass(frozen=True, eq=False)
class Sentences:
    """All sentences of a split, of which runs see this or that part.

    Attributes:
        words: of each of N sentences.
        place: where each stands.
    """

    words: Sequence[Sequence[str]]
    place: Place
    _held: dict[str, tuple[Ragged, Tensor]] = field(default_factory=dict, repr=False)

    def tokens(self, input: TextInput) -> tuple[Ragged, Tensor]:
        """Ids of all sentences, made once for a tokenizer; and the word that each id begins, -1 for none, (N, T).

        Raises:
            InputError: nothing of a sentence is a token.
        """
        key = input.fingerprint()
        if key not in self._held:
            ids, firsts = zip(*input.words(self.words), strict=True)
            self._check(ids, firsts, input)
            padded = pad_sequence(list(firsts), batch_first=True, padding_value=-1)
            self._held[key] = Ragged.of(ids, torch.arange(len(ids)), input.padding), padded
        return self._held[key]

    def _check(self, ids: Sequence[Tensor], firsts: Sequence[Tensor], input: TextInput) -> None:
        for number, one in enumerate(ids):
            if not len(one):
                raise InputError(
                    f"{self.place(number)}: backbone.input.tokenizer={input.tokenizer} finds no token in it"
                )
        words = sum(len(sentence) for sentence in self.words)
        if lost := words - sum(int((one >= 0).sum()) for one in firsts):
            _log.warning(
                "%d of %d words have no token within backbone.input.max_length=%d: neither loss nor metrics see them",
                lost,
                words,
                input.max_length,
            )


@dataclass(frozen=True)
class Tagged:
    """Labelled sentences: some of a split's.

    Attributes:
        sentences: shared by all parts of a split.
        positions: among them, (N,).
        y: the class of each word, `IGNORED` behind a sentence's end, (N, W).
    """

    sentences: Sentences
    positions: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, indices: Sequence[int]) -> tuple[Value, Tensor]:
        raise TypeError("texts are no batch for a net: call `prepared` first")

    def take(self, indices: Tensor) -> "Tagged":  # noqa: D102
        return replace(self, positions=self.positions[indices], y=self.y[indices])

    def relabelled(self, y: Tensor) -> "Tagged":  # noqa: D102
        return replace(self, y=y)

    def prepared(self, input: Input) -> Ragged:
        """Token ids; of labels (N, T), as wide as the split's longest sentence, a word's first token has its."""
        hint = "choose one for texts, such as backbone=minilm, or backbone=lstm input@backbone.input=words"
        tokens, firsts = self.sentences.tokens(expect(input, TextInput, "texts", hint))
        if hidden(self.y):
            return tokens.take(self.positions).relabelled(self.y)
        mine = firsts[self.positions]
        y = self.y.gather(1, mine.clamp_min(0)).where(mine >= 0, IGNORED)
        return tokens.take(self.positions).relabelled(y)

    def fingerprint(self) -> str:  # noqa: D102
        digest = hashlib.blake2b(b"".join(self.digests()), digest_size=8)
        digest.update(f"{tuple(self.y.shape)}".encode() + self.y.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def digests(self) -> list[bytes]:
        """A hash of each sentence's words."""
        words = (list(self.sentences.words[position]) for position in self.positions.tolist())
        return [hashlib.blake2b(repr(one).encode(), digest_size=8).digest() for one in words]

    def identities(self) -> Identities:
        """Of each sentence, as of a text."""
        return text_identities([["".join(self.sentences.words[position])] for position in self.positions.tolist()])

    def place(self, index: int) -> str:
        """Where a sentence stands."""
        return self.sentences.place(int(self.positions[index]))


def conll(
    path: str, test: str | None, word: int, tag: int, separator: str | None, unlabelled: str | None, encoding: str
) -> Splits:
    """Read files in the manner of CoNLL: a word with its columns in each line, an empty line between sentences.

    Lines that begin with `-DOCSTART-` are passed over.

    Args:
        path: the training split.
        test: the test split; None: it is cut from training.
        word: the column of words, from 0; from -1 backwards.
        tag: the column of tags, likewise.
        separator: between columns; None: spaces and tabs.
        unlabelled: the tag of words that have no label, or None.
        encoding: of the files.

    Raises:
        InputError: a file that is missing, empty or in another encoding, a line that lacks a column, or a tag that
            training lacks.
    """
    given = {"target.data.path": path} | ({"target.data.test": test} if test is not None else {})
    read = [list(_sentences(Path(file), key, (word, tag), separator, encoding)) for key, file in given.items()]
    classes = tuple(sorted({tag for _, tagged in read[0] for _, tag in tagged} - {unlabelled}))
    files = list(given.values())
    parts = [_tagged(part, file, classes, unlabelled, path) for part, file in zip(read, files, strict=True)]
    return Splits(parts[0], parts[1] if test is not None else None, classes)


def _sentences(
    path: Path, key: str, columns: tuple[int, int], separator: str | None, encoding: str
) -> Iterator[tuple[int, list[tuple[str, str]]]]:
    """The line of each sentence's first word, and its words with their tags."""
    lines = read_file(path, encoding, key).split("\n")
    found: list[tuple[str, str]] = []
    for number, line in enumerate([*lines, ""], 1):
        if line.strip() and not line.startswith(_DOCUMENT):
            found.append(_columns(line.rstrip("\r"), columns, separator, f"{path}, line {number}"))
        elif found:
            yield number - len(found), found
            found = []


def _columns(line: str, columns: tuple[int, int], separator: str | None, place: str) -> tuple[str, str]:
    cells = line.split(separator)
    try:
        word, tag = (cells[column].strip() for column in columns)
    except IndexError:
        raise InputError(
            f"{place} has {len(cells)} columns, target.data.word={columns[0]} and target.data.tag={columns[1]} are "
            "wanted: set them, or target.data.separator"
        ) from None
    if not word or not tag:
        raise InputError(f"{place} has no {'tag' if word else 'word'}; fill or remove it")
    return word, tag


def _tagged(
    read: Sequence[tuple[int, list[tuple[str, str]]]],
    file: str,
    classes: Sequence[str],
    unlabelled: str | None,
    training: str,
) -> Tagged:
    if not read:
        raise InputError(f"{file} holds no sentences")
    number = {name: label for label, name in enumerate(classes)} | ({unlabelled: IGNORED} if unlabelled else {})
    for line, sentence in read:
        for within, (_, tag) in enumerate(sentence):
            if tag not in number:
                raise InputError(f"{file}, line {line + within} has the tag '{tag}', which {training} lacks")
    y = [torch.tensor([number[tag] for _, tag in sentence]) for _, sentence in read]
    words = [[word for word, _ in sentence] for _, sentence in read]
    sentences = Sentences(words, partial(_line, file, [line for line, _ in read]))
    return Tagged(sentences, torch.arange(len(read)), pad_sequence(y, batch_first=True, padding_value=IGNORED))


def _line(file: str, lines: Sequence[int], number: int) -> str:
    return f"{file}, line {lines[number]}"
