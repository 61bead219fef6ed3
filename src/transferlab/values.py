"""What flows through a net, batch first: a tensor, a padded sequence with its mask, or a pair of values."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor


class Seq(NamedTuple):
    """A batch of sequences, padded to the longest.

    Attributes:
        h: token ids (B, T), samples of a wave (B, T), frames or hidden states (B, T, F).
        mask: True where a step is real and False where it is padding, (B, T).
    """

    h: Tensor
    mask: Tensor


class Pair(NamedTuple):
    """Two inputs of one sample, say an image and its caption, or a user and an item."""

    first: Any
    second: Any


class Carried(NamedTuple):
    """What a stage hands to the next with something beside it, which nobody else sees.

    Attributes:
        seen: the stage's output, as whoever observes the stage sees it.
        beside: what the next stage needs too.
    """

    seen: Any
    beside: Tensor


class Entered(NamedTuple):
    """A batch that has been through the first stages of a net: the net goes on from there.

    Attributes:
        value: what the last of them gave.
        kept: outputs of stages passed that somebody reads, by name.
        stage: the next one; None: there is none, `value` is the features.
        flops: forward operations that a sample has behind it.
    """

    value: Any
    kept: Mapping[str, Any]
    stage: str | None
    flops: float


Value: TypeAlias = Tensor | Seq | Pair


def tensors(value: Value) -> Iterator[Tensor]:
    """Every tensor of a value."""
    if isinstance(value, Tensor):
        yield value
    else:
        for part in value:
            yield from tensors(part)


def each(function: Callable[[Tensor], Tensor], value: Value) -> Value:
    """The value with every tensor changed by a function, masks included."""
    if isinstance(value, Tensor):
        return function(value)
    parts: list[Any] = [each(function, part) for part in value]
    return type(value)(*parts)


def floats(value: Value, kind: torch.dtype) -> Value:
    """The value with its floating-point tensors of another kind; ids and masks stay."""
    return each(lambda tensor: tensor.to(kind) if tensor.is_floating_point() else tensor, value)


def chunks(value: Value, count: int) -> list[Value]:
    """The batch cut into `count` batches of nearly equal size, in order."""
    if isinstance(value, Tensor):
        return list(value.tensor_split(count))
    return [type(value)(*parts) for parts in zip(*(chunks(part, count) for part in value), strict=True)]


def samples(value: Value) -> int:
    """How many samples a batch has."""
    return len(next(tensors(value)))


def flat(value: Value) -> Tensor:
    """One vector a sample, (B, ...): a tensor flattened, a sequence's mean over its real steps, a pair side by side.

    Of a pair of ids and numbers only the numbers, as an id's size says nothing.
    """
    if isinstance(value, Tensor):
        return value.reshape(len(value), -1)
    if isinstance(value, Seq):
        return masked_mean(value).reshape(len(value.h), -1)
    parts = [flat(part) for part in value]
    return torch.cat([part for part in parts if part.is_floating_point()] or parts, 1)


def masked_mean(value: Seq) -> Tensor:
    """The mean of a sequence's real steps, (B, F); of no real step at all, zero."""
    mask = value.mask.reshape(*value.mask.shape, *[1] * (value.h.ndim - 2)).to(value.h.dtype)
    return (value.h * mask).sum(1) / mask.sum(1).clamp_min(1)
