"""A batch divided among the processes of a run: each sends its share through the net, and all see what became of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor

from transferlab.errors import InputError
from transferlab.values import Value, each

LEAST = 2
"""Samples of a share: BatchNorm cannot train on one. A smaller batch goes through the net of each process whole."""


@dataclass(frozen=True)
class Share:
    """One process's part of a batch.

    Attributes:
        process: its number, from 0.
        processes: how many there are.
        samples: of the whole batch.
    """

    process: int
    processes: int
    samples: int

    @property
    def is_whole(self) -> bool:
        """Whether the batch is too small to be divided."""
        return self.samples < LEAST * self.processes

    @property
    def lengths(self) -> list[int]:
        """Samples of each process; they differ by one at most."""
        fewest, more = divmod(self.samples, self.processes)
        return [fewest + (number < more) for number in range(self.processes)]

    def of(self, value: Value) -> Value:
        """This process's part of a value."""
        first = sum(self.lengths[: self.process])
        return each(lambda tensor: tensor[first : first + self.lengths[self.process]], value)

    def together(self, value: Any) -> Any:
        """The whole of a value of which each process has its part, in the order of the samples.

        Its gradient is that of every process's loss, which are one and the same, so that the mean of the processes'
        gradients is the gradient of one.

        Raises:
            InputError: it does not consist of one tensor row a sample.
        """
        if isinstance(value, Tensor) and value.ndim and len(value) == self.lengths[self.process]:
            return cast(Tensor, _Together.apply(value, self))
        if isinstance(value, Mapping):
            return {key: self.together(part) for key, part in value.items()}
        if isinstance(value, tuple):
            parts = [self.together(part) for part in value]
            return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
        if value is None:
            return None
        raise InputError(
            f"the net gives a {type(value).__name__} that is not put together from several processes: "
            "set trainer.devices=1"
        )


class _Together(torch.autograd.Function):
    """Gathers parts; of the whole's gradient each process takes its part, times how many are averaged over."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, share: Share) -> Tensor:
        ctx.share = share
        most = max(share.lengths)
        # not every back-end takes truth values, or parts of different lengths
        sent = part.detach().to(torch.uint8) if part.dtype == torch.bool else part.detach()
        sent = torch.cat([sent, sent.new_zeros(most - len(sent), *sent.shape[1:])]) if len(sent) < most else sent
        parts = [torch.empty_like(sent, memory_format=torch.contiguous_format) for _ in share.lengths]
        dist.all_gather(parts, sent.contiguous())
        return torch.cat([one[:length] for one, length in zip(parts, share.lengths, strict=True)]).to(part.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        return cast(Tensor, ctx.share.of(gradient)) * ctx.share.processes, None
