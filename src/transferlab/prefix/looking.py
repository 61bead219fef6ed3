"""What each of a net's first stages costs and gives: operations, and bytes of what is kept behind it."""

from collections.abc import Collection, Sequence
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from transferlab.backbones.base import Backbone
from transferlab.cache.packing import UncacheableError, nbytes, taken_apart
from transferlab.data.rows import DIGEST
from transferlab.flops import operations
from transferlab.prefix.inputs import Inputs
from transferlab.values import Pair, Seq, Value, samples


class Look:
    """At a net by a batch of two samples; a boundary is the number of stages before it.

    Args:
        backbone: the net.
        reads: stages whose outputs somebody reads.
        inputs: that it takes.
        kind: of floating-point numbers in files; None: as they are computed.
    """

    def __init__(self, backbone: Backbone, reads: Collection[str], inputs: Inputs, kind: torch.dtype | None) -> None:
        self._backbone, self._reads, self._inputs, self._kind = backbone, reads, inputs, kind

    @cached_property
    def flops(self) -> Sequence[float]:
        """Forward operations of the first 0, 1, 2, ... stages, a sample."""
        return [0.0, *(cost for cost, _ in self._found)]

    def size(self, boundary: int) -> int:
        """Bytes of what is kept of a sample at a boundary.

        Raises:
            UncacheableError: it cannot be kept by sample.
        """
        found = self._found[boundary - 1][1]
        if isinstance(found, UncacheableError):
            raise found
        return found

    @cached_property
    def _found(self) -> list[tuple[float, int | UncacheableError]]:
        """Of each boundary, from the first stage on: operations before it and bytes there, a sample."""
        self._backbone.requires_grad_(False)  # until the epoch's schedule says it again; torch's counter trips over it
        x, alone, padded = self._inputs.example(2), None, None
        count = samples(x)
        if self._inputs.padded:
            alone, padded = _shortened(self._inputs.first(self._inputs.leading, 1)[0])
        kept: dict[str, Any] = {}
        total = 0.0
        found: list[tuple[float, int | UncacheableError]] = []
        for name in self._backbone.stages:
            (x, one), cost = operations(partial(self._through, x, name))
            kept |= {stage: output for stage, output in one.items() if stage in self._reads}
            total += cost / count
            weight = self._weighed({"": x, **kept}, count)
            if alone is not None:
                alone, padded = (self._through(one, name)[0] for one in (alone, padded))
                if not isinstance(weight, UncacheableError) and not _same_row(padded, alone):
                    weight = UncacheableError(f"what {name} makes of a sample depends on how far it is padded")
            found.append((total, weight))
        return found

    @torch.no_grad()
    def _through(self, x: Any, stage: str) -> tuple[Any, dict[str, Any]]:
        """One stage's value, and its output as others see it."""
        stages = self._backbone.stages
        following = stages[place] if (place := stages.index(stage) + 1) < len(stages) else None
        with self._inputs.computing():
            return self._backbone.observe(x, [stage], start=stage, stop=following)

    def _weighed(self, value: Any, count: int) -> int | UncacheableError:
        try:
            _, leaves = taken_apart(value, count)
        except UncacheableError as error:
            return error
        return sum(nbytes(leaf, self._kind) for leaf in leaves) // count + DIGEST


def _shortened(x: Value) -> tuple[Value, Value]:
    """The first three quarters of sequences by themselves, and as long as they were, the rest padding."""
    if isinstance(x, Seq):
        steps = -(-x.h.shape[1] * 3 // 4)
        mask = x.mask & (torch.arange(x.mask.shape[1], device=x.mask.device) < steps)
        h = torch.where(mask.reshape(*mask.shape, *[1] * (x.h.ndim - 2)).bool(), x.h, torch.zeros_like(x.h))
        return Seq(x.h[:, :steps], x.mask[:, :steps]), Seq(h, mask)
    if isinstance(x, Pair):
        (first, longer), (second, other) = map(_shortened, x)
        return Pair(first, second), Pair(longer, other)
    return x, x


def _same_row(batch: Any, alone: Any) -> bool:
    """Whether a padded sample is the same as by itself, to round-off."""
    for one, other in zip(taken_apart(batch, 1)[1], taken_apart(alone, 1)[1], strict=True):
        if isinstance(one, Seq) and isinstance(other, Seq):
            steps = int(other.mask.sum())
            one, other = one.h[:, :steps], other.h[:, :steps]
        assert isinstance(one, Tensor) and isinstance(other, Tensor)
        if one.shape != other.shape or not torch.allclose(one.float(), other.float(), rtol=1e-3, atol=1e-5):
            return False
    return True
