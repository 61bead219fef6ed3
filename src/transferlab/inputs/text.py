"""Texts as ids of tokens: by a published tokenizer, or by hashed words."""

import hashlib
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from transferlab.errors import InputError
from transferlab.inputs.origins import first_line, located
from transferlab.values import Seq, Value

WORDS = "words"
_WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class TextInput:
    """Token ids (B, T), cut to `max_length` and padded on the right.

    Args:
        tokenizer: where a fast tokenizer of transformers lies: a hub id, a folder, or `package:NAME/FOLDER`. Or
            `words`: lower-cased words and punctuation marks, each hashed into one of `buckets` (the hashing trick,
            Weinberger et al. 2009, https://arxiv.org/abs/0902.2206); nothing is fitted, nothing downloaded.
        buckets: ids of `words`, of which 0 is padding; None for a published tokenizer, which has its own.
        max_length: tokens of a text, special ones among them; what is longer loses its end.

    Raises:
        InputError: numbers or names that do not fit together.
    """

    tokenizer: str | None
    buckets: int | None
    max_length: int

    def __post_init__(self) -> None:
        if self.tokenizer is None:
            raise InputError(
                "backbone.input.tokenizer is not given: name a hub id or folder, or choose input@backbone.input=words"
            )
        if self.tokenizer == WORDS and (self.buckets is None or self.buckets < 2):
            raise InputError(f"backbone.input.buckets={self.buckets}: tokenizer=words takes 2 or more")
        if self.max_length < 4:
            raise InputError(f"backbone.input.max_length={self.max_length}: at least 4 tokens")

    @property
    def kind(self) -> str:
        """Texts."""
        return "texts"

    @property
    def vocabulary(self) -> int:
        """How many rows an embedding table needs: the largest id and one."""
        return self.buckets if self.buckets is not None and self._hashes else _tokenizer(self._origin).vocabulary

    @property
    def padding(self) -> int:
        """The id behind a shorter text's end. It is masked, so a tokenizer without one may lend its last mark."""
        return 0 if self._hashes else _tokenizer(self._origin).padding

    @property
    def special(self) -> frozenset[int]:
        """Ids of marks that stand for no word: beginning, end, padding, mask."""
        return frozenset({0}) if self._hashes else _tokenizer(self._origin).special

    @property
    def blank(self) -> int | None:
        """The id of a token that stands for a missing one: the tokenizer's mask, or else its unknown token."""
        return None if self._hashes else _tokenizer(self._origin).blank

    @property
    def end(self) -> int:
        """The id behind the last token of a text that a net writes; of `words` the first that is no word's.

        Raises:
            InputError: the tokenizer has no such mark.
        """
        return self.buckets if self.buckets is not None and self._hashes else _tokenizer(self._origin).end

    def ids(self, texts: Sequence[str], seconds: Sequence[str] | None = None) -> list[Tensor]:
        """Ids of each text, int32 (T,) with T at most `max_length`.

        Args:
            texts: N of them.
            seconds: the second text of each pair; a published tokenizer puts its own mark between the two.
        """
        if not self._hashes:
            return _tokenizer(self._origin).ids(texts, seconds, self.max_length)
        whole = texts if seconds is None else [f"{a} {b}" for a, b in zip(texts, seconds, strict=True)]
        return [torch.tensor(self._hashed(text), dtype=torch.int32) for text in whole]

    def words(self, sentences: Sequence[Sequence[str]]) -> list[tuple[Tensor, Tensor]]:
        """Ids of sentences that come word by word: those of the words with spaces between them.

        Args:
            sentences: N of them, each its words.

        Returns:
            Of each sentence the ids, int32 (T,), and for each id the place of the word that it begins, int64 (T,); -1
            for marks and for the further parts of a word.
        """
        if not self._hashes:
            return _tokenizer(self._origin).words(sentences, self.max_length)
        return [self._hashed_words(words) for words in sentences]

    def texts(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Texts of ids, without marks; hashed words cannot be told from their ids, so these are written in figures."""
        if not self._hashes:
            return _tokenizer(self._origin).texts(ids)
        return [" ".join(str(one) for one in row if one not in (self.padding, self.end)) for row in ids]

    def fingerprint(self) -> str:
        """A hash of all that decides which ids a text becomes."""
        rule = f"{WORDS} {self.buckets}" if self._hashes else _tokenizer(self._origin).fingerprint
        return f"{rule} {self.max_length}"

    def normalised(self, x: Value) -> Value:
        """Ids as int64, on the device, where they arrived at half of the bytes."""
        assert isinstance(x, Seq)
        return Seq(x.h.long(), x.mask)

    def example(self, count: int) -> Seq:
        """Random ids (count, 8), every second text three tokens shorter."""
        ids = torch.randint(0, self.vocabulary - 1, (count, 8), generator=torch.Generator().manual_seed(0))
        ids += ids >= self.padding  # every id but the padding
        length = min(8, self.max_length)
        ends = torch.tensor([length - 3 * (number % 2) for number in range(count)])
        mask = torch.arange(length) < ends[:, None]
        return Seq(ids[:, :length].masked_fill(~mask, self.padding), mask)

    @property
    def _hashes(self) -> bool:
        return self.tokenizer == WORDS

    @property
    def _origin(self) -> str:
        assert self.tokenizer is not None
        return self.tokenizer

    def _hashed(self, text: str) -> list[int]:
        assert self.buckets is not None
        # crc32 is the same in every process and on every machine, unlike Python's own hash
        words = _WORD.findall(text.lower())[: self.max_length]
        return [1 + zlib.crc32(word.encode()) % (self.buckets - 1) for word in words]

    def _hashed_words(self, words: Sequence[str]) -> tuple[Tensor, Tensor]:
        parts = [self._hashed(word) for word in words]
        firsts = [place if part == 0 else -1 for place, found in enumerate(parts) for part in range(len(found))]
        ids = torch.tensor([one for found in parts for one in found], dtype=torch.int32)
        return ids[: self.max_length], torch.tensor(firsts, dtype=torch.int64)[: self.max_length]


class _Published:
    """A fast tokenizer of transformers, and what does not change while it is used."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        # some tokenizers leave gaps, so their length is not enough
        self.vocabulary = max(tokenizer.get_vocab().values()) + 1
        marks = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
        self.padding = int(next(mark for mark in marks if mark is not None))
        self.special = frozenset(tokenizer.all_special_ids)
        blanks = (tokenizer.mask_token_id, tokenizer.unk_token_id)
        self.blank: int | None = next((blank for blank in blanks if blank is not None), None)
        self.fingerprint = hashlib.blake2b(tokenizer.backend_tokenizer.to_str().encode(), digest_size=8).hexdigest()

    @property
    def end(self) -> int:
        for mark in (self._tokenizer.eos_token_id, self._tokenizer.sep_token_id):
            if mark is not None:
                return int(mark)
        raise InputError("backbone.input.tokenizer has no mark for the end of a text (eos, sep), which writing needs")

    def ids(self, texts: Sequence[str], seconds: Sequence[str] | None, max_length: int) -> list[Tensor]:
        pairs = (list(texts),) if seconds is None else (list(texts), list(seconds))
        found = self._tokenizer(
            *pairs,
            truncation=True,
            max_length=max_length,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        return [torch.tensor(ids, dtype=torch.int32) for ids in found["input_ids"]]

    def words(self, sentences: Sequence[Sequence[str]], max_length: int) -> list[tuple[Tensor, Tensor]]:
        found = self._tokenizer(
            [" ".join(words) for words in sentences],
            truncation=True,
            max_length=max_length,
            return_offsets_mapping=True,
            verbose=False,
        )
        return [
            (torch.tensor(ids, dtype=torch.int32), _firsts(words, spans))
            for words, ids, spans in zip(sentences, found["input_ids"], found["offset_mapping"], strict=True)
        ]

    def texts(self, ids: Sequence[Sequence[int]]) -> list[str]:
        found: list[str] = self._tokenizer.batch_decode([list(row) for row in ids], skip_special_tokens=True)
        return found


def _firsts(words: Sequence[str], spans: Sequence[tuple[int, int]]) -> Tensor:
    """The word that each token begins, -1 where it begins none.

    Args:
        words: of a sentence, which stand in it with a space between them.
        spans: of each token, the characters [from, to) of the sentence; a mark's is empty.
    """
    owner = [place for place, word in enumerate(words) for _ in range(len(word) + 1)]
    text = " ".join(words)
    firsts, last = [], -1
    for start, end in spans:
        # a token may hold the space before its word
        inside = next((at for at in range(start, end) if not text[at].isspace()), None)
        begins = inside is not None and owner[inside] != last
        last = owner[inside] if inside is not None else last
        firsts.append(last if begins else -1)
    return torch.tensor(firsts, dtype=torch.int64)


@lru_cache(maxsize=8)
def _tokenizer(origin: str) -> _Published:
    """The tokenizer of an origin, read once.

    Raises:
        InputError: none lies there, or it is a slow one or one that would run code.
    """
    from transformers import AutoTokenizer

    place = located(origin)
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False)
    except Exception as error:  # a damaged file can raise nearly anything
        raise InputError(
            f"backbone.input.tokenizer={origin} cannot be read ({first_line(error)}): name a hub id, a folder that "
            f"holds a tokenizer, or {WORDS}"
        ) from error
    if not tokenizer.is_fast:
        raise InputError(f"backbone.input.tokenizer={origin} has no fast form (tokenizer.json); choose another")
    return _Published(tokenizer)
