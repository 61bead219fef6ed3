"""Labelled texts in memory; their tokens are made once for each tokenizer and kept on disk."""

import hashlib
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from transferlab.data.duplicates import Identities, as_identities
from transferlab.data.ragged import Ragged
from transferlab.errors import InputError
from transferlab.files import write_bytes
from transferlab.inputs.base import Input, expect
from transferlab.inputs.text import TextInput
from transferlab.values import Value

_log = logging.getLogger(__name__)

Place: TypeAlias = Callable[[int], str]
"""Where the i-th text stands, for messages: `reviews.csv, row 3`."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """All texts of a split, of which runs see this or that part.

    Attributes:
        texts: N of them.
        seconds: the second text of each pair; None where there are no pairs.
        place: where each stands.
        cache: the folder below which tokens are kept; None: they are made anew by every process.
    """

    texts: Sequence[str]
    seconds: Sequence[str] | None
    place: Place
    cache: str | None
    _held: dict[str, Ragged] = field(default_factory=dict, repr=False)

    def tokens(self, input: TextInput) -> Ragged:
        """Ids of all texts, labelled by their positions.

        Raises:
            InputError: nothing of a text is a token.
        """
        key = f"{self.fingerprint(range(len(self.texts)))} {input.fingerprint()}"
        if key not in self._held:
            self._held[key] = self._kept(hashlib.blake2b(key.encode(), digest_size=16).hexdigest(), input)
        return self._held[key]

    def fingerprint(self, positions: Sequence[int]) -> str:
        """A hash of the texts at these positions."""
        digest = hashlib.blake2b(digest_size=8)
        for part in (self.texts, self.seconds):
            for position in positions if part is not None else ():
                assert part is not None
                content = part[position].encode("utf-8", "surrogatepass")
                digest.update(len(content).to_bytes(8, "little") + content)
        return digest.hexdigest()

    def identities(self, positions: Sequence[int]) -> Identities:
        """By what the texts at these positions are known in other sets, see `text_identities`."""
        parts = [part for part in (self.texts, self.seconds) if part is not None]
        return text_identities([[part[position] for part in parts] for position in positions])

    def _kept(self, name: str, input: TextInput) -> Ragged:
        """The tokens from disk, or made and put there."""
        if self.cache is None:
            return self._made(input)
        file = Path(self.cache) / "tokens" / f"{name}.safetensors"
        try:
            found = load_file(file)
            return Ragged(found["ids"], found["lengths"], torch.arange(len(self.texts)), input.padding)
        except Exception as error:  # not there, or damaged: made again
            _log.debug("no tokens in %s (%s)", file, error)
        made = self._made(input)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(file, save({"ids": made.steps, "lengths": made.lengths}))
        return made

    def _made(self, input: TextInput) -> Ragged:
        ids = input.ids(self.texts, self.seconds)
        for number, one in enumerate(ids):
            if not len(one):
                raise InputError(
                    f"{self.place(number)}: backbone.input.tokenizer={input.tokenizer} finds no token in it"
                )
        return Ragged.of(ids, torch.arange(len(ids)), input.padding)


@dataclass(frozen=True)
class Texts:
    """Labelled texts: those of a corpus at some positions.

    Attributes:
        corpus: shared by all parts of a split, so that its tokens are made once.
        positions: in the corpus, (N,).
        y: labels (N, ...).
    """

    corpus: Corpus
    positions: Tensor
    y: Tensor

    @classmethod
    def of(cls, corpus: Corpus, y: Tensor) -> "Texts":
        """All texts of a corpus."""
        return cls(corpus, torch.arange(len(corpus.texts)), y)

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, indices: Sequence[int]) -> tuple[Value, Tensor]:
        raise TypeError("texts are no batch for a net: call `prepared` first")

    def take(self, indices: Tensor) -> "Texts":  # noqa: D102
        return replace(self, positions=self.positions[indices], y=self.y[indices])

    def relabelled(self, y: Tensor) -> "Texts":  # noqa: D102
        return replace(self, y=y)

    def prepared(self, input: Input) -> Ragged:  # noqa: D102
        hint = "choose one for texts, such as backbone=minilm, or backbone=lstm input@backbone.input=words"
        tokens = self.corpus.tokens(expect(input, TextInput, "texts", hint))
        return tokens.take(self.positions).relabelled(self.y)

    def fingerprint(self) -> str:  # noqa: D102
        digest = hashlib.blake2b(self.corpus.fingerprint(self.positions.tolist()).encode(), digest_size=8)
        digest.update(f"{self.y.dtype}{tuple(self.y.shape)}".encode())
        digest.update(self.y.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def digests(self) -> list[bytes]:
        """A hash of each text, or pair."""
        return [bytes.fromhex(self.corpus.fingerprint([position])) for position in self.positions.tolist()]

    def identities(self) -> Identities:
        """Of each text, or pair."""
        return self.corpus.identities(self.positions.tolist())

    def place(self, index: int) -> str:
        """Where a text stands."""
        return self.corpus.place(int(self.positions[index]))


def text_identities(samples: Sequence[Sequence[str]]) -> Identities:
    """A hash of each sample's letters and digits, (N, 1).

    Published sets take the same sentences from one another with other spaces, capitals, quotes and hyphens. What has
    neither letters nor digits is known by all its signs.

    Args:
        samples: one text each, or the two of a pair.
    """

    def known(text: str) -> bytes:
        return (re.sub(r"[\W_]+", "", text.casefold()) or text).encode("utf-8", "surrogatepass")

    content = (b"".join(len(one).to_bytes(8, "little") + one for one in map(known, texts)) for texts in samples)
    return as_identities([hashlib.blake2b(one, digest_size=8).digest() for one in content])
