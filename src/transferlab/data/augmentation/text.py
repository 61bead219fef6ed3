"""Texts with some of their tokens missing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from transferlab.data.augmentation.base import Each, uniform
from transferlab.errors import InputError
from transferlab.inputs.base import Input
from transferlab.inputs.text import TextInput
from transferlab.values import Seq, Value


@dataclass(frozen=True)
class TokenDropout:
    """Drops tokens, or puts the tokenizer's mask in their place (word dropout, Iyyer et al. 2015,
    "Deep Unordered Composition Rivals Syntactic Methods for Text Classification").

    Special tokens stay. A text that would lose every token stays as it is.

    Args:
        share: of the tokens, in [0, 1).
        replace: put a mask there; False: the rest moves up.
        input: whose ids they are; None: not known yet.
    """  # noqa: D205

    share: float
    replace: bool
    input: TextInput | None = None
    normalised: ClassVar[bool] = False
    costly: ClassVar[bool] = False

    def prepared(self, key: str, input: Input, y: Tensor) -> Each:  # noqa: D102
        if not isinstance(input, TextInput):
            raise InputError(f"{key} drops tokens of texts, the backbone takes {input.kind}: choose augmentation=none")
        if not 0 <= self.share < 1:
            raise InputError(f"{key}.share={self.share}: a share of the tokens in [0, 1)")
        if self.replace and input.blank is None:
            raise InputError(
                f"{key}.replace=true: backbone.input.tokenizer={input.tokenizer} has no mask and no unknown token; "
                "set replace=false"
            )
        if not self.replace and y.ndim == 2 and not y.is_floating_point():
            raise InputError(f"{key}.replace=false would move tokens away from their labels: set replace=true")
        return replace(self, input=input)

    def __call__(self, x: Value, y: Tensor, seeds: Sequence[int]) -> tuple[Seq, Tensor]:
        """Ids (B, T)."""
        assert isinstance(x, Seq) and self.input is not None
        special = torch.tensor(sorted(self.input.special), dtype=x.h.dtype)
        words = x.mask & ~torch.isin(x.h, special)
        lost = self._chosen(x.mask, seeds) & words
        lost &= (lost != words).any(1, keepdim=True)  # of every word, none
        if self.replace:
            return Seq(x.h.masked_fill(lost, self.input.blank or 0), x.mask), y
        return _moved_up(x, x.mask & ~lost, self.input.padding), y

    def _chosen(self, mask: Tensor, seeds: Sequence[int]) -> Tensor:
        """Places (B, T). The draws of a text are its first ones, however long the longest of its batch is."""
        lengths = mask.sum(1).tolist()
        chosen = torch.zeros_like(mask)
        for row, length, seed in zip(chosen, lengths, seeds, strict=True):
            row[:length] = uniform([seed], length)[0] < self.share
        return chosen


def _moved_up(x: Seq, kept: Tensor, padding: int) -> Seq:
    """What is kept of each sequence, without gaps, padded to the longest that is left."""
    lengths = kept.sum(1)
    longest = int(lengths.max())
    order = kept.long().argsort(dim=1, descending=True, stable=True)[:, :longest]
    mask = torch.arange(longest) < lengths[:, None]
    return Seq(x.h.gather(1, order).masked_fill(~mask, padding), mask)
