"""Values on their way through a net as columns of rows, which a file can hold, and back."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor

from transferlab.errors import InputError
from transferlab.values import Carried, Pair, Seq

Plan: TypeAlias = Any
"""How a value is put together, as JSON can say it."""
Leaf: TypeAlias = Tensor | Seq
"""A column of a batch: one row a sample, (B, ...), or as many as it has real steps, (B, T, ...) with a mask."""
_PAIRS: Mapping[str, Any] = {"pair": Pair, "carried": Carried}


class UncacheableError(InputError):
    """A value that cannot be kept by sample."""


def taken_apart(value: Any, count: int) -> tuple[Plan, list[Leaf]]:
    """A value as its columns.

    Args:
        value: of `count` samples: a tensor, a sequence, or a pair or mapping of values.
        count: of samples, at least two, so that a tensor of one row for all of them is told apart.

    Raises:
        UncacheableError: something in it is not by sample.
    """
    if isinstance(value, Tensor):
        if not value.ndim or len(value) != count:
            raise UncacheableError(f"a tensor {tuple(value.shape)} among its activations is not one of {count} samples")
        return "tensor", [value]
    if isinstance(value, Seq):
        lengths = value.mask.sum(1, keepdim=True)
        if not torch.equal(value.mask.bool(), torch.arange(value.mask.shape[1], device=lengths.device) < lengths):
            raise UncacheableError("its sequences are not padded at their ends")
        return "sequence", [value]
    if isinstance(value, Mapping):
        parts = {name: taken_apart(part, count) for name, part in value.items()}
        return {name: plan for name, (plan, _) in parts.items()}, [
            leaf for _, found in parts.values() for leaf in found
        ]
    for name, kind in _PAIRS.items():
        if isinstance(value, kind):
            (first, leaves), (second, more) = (taken_apart(part, count) for part in value)
            return [name, first, second], [*leaves, *more]
    raise UncacheableError(f"its stages hand on a {type(value).__name__}, which is none of tensor, sequence and pair")


def put_together(plan: Plan, leaves: Iterable[Leaf]) -> Any:
    """The value that `taken_apart` took apart."""
    return _built(plan, iter(leaves))


def _built(plan: Plan, leaves: Iterator[Leaf]) -> Any:
    if isinstance(plan, str):
        return next(leaves)
    if isinstance(plan, Mapping):
        return {name: _built(part, leaves) for name, part in plan.items()}
    kind, *parts = plan
    return _PAIRS[kind](*(_built(part, leaves) for part in parts))


def nbytes(leaf: Leaf, kind: torch.dtype | None) -> int:
    """Of a column in a file, its floating-point numbers of a kind, or None: as they are; padding left out."""
    h = leaf.h if isinstance(leaf, Seq) else leaf
    rows = int(leaf.mask.sum()) if isinstance(leaf, Seq) else len(leaf)
    each = h[0, 0].numel() if isinstance(leaf, Seq) else h[0].numel()
    return rows * each * (kind.itemsize if kind is not None and h.is_floating_point() else h.element_size())
