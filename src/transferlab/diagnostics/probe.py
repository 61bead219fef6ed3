"""A few fixed samples to look at a net with, and the promise that looking changes nothing."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from transferlab.backbones.base import Backbone
from transferlab.data.module import Domain, TransferData
from transferlab.data.samples import Samples
from transferlab.values import Value, chunks, each, floats


@dataclass(frozen=True)
class Probe:
    """Samples as they were read; they are normalised a batch at a time.

    Attributes:
        x: inputs of n samples.
        y: labels (n, ...).
        data: normalises them.
    """

    x: Value
    y: Tensor
    data: TransferData

    @classmethod
    def of(cls, samples: Samples, count: int, data: TransferData) -> "Probe":
        """At most `count` samples, in their order and evenly spaced, so that a set sorted by class shows them all."""
        count = min(count, len(samples))
        return cls(*samples[torch.linspace(0, len(samples) - 1, count).round().long().tolist()], data)

    def __len__(self) -> int:
        return len(self.y)

    def batches(self, size: int, near: nn.Module) -> Iterator[Domain]:
        """Batches of nearly equal sizes, `size` at most, where `near` lies and of its kind of numbers."""
        # a net may have no parameters, as one that hands on its inputs
        parameter = next(near.parameters(), torch.empty(0))
        count = -(-len(self) // size)
        for x, y in zip(chunks(self.x, count), self.y.tensor_split(count), strict=True):
            x = each(lambda tensor: tensor.to(parameter.device), x)
            x, y = self.data.on_after_batch_transfer((x, y.to(parameter.device)), 0)
            yield floats(x, parameter.dtype), y

    def first(self, count: int) -> "Probe":
        """The first samples."""
        return Probe(each(lambda tensor: tensor[:count], self.x), self.y[:count], self.data)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode, and afterwards each part in the mode that it had: a frozen stage is in another than the rest."""
    modes = [(part, part.training) for part in _parts(module)]
    try:
        for part, mode in modes:
            if mode:
                part.training = False
        yield
    finally:
        for part, mode in modes:
            if part.training != mode:
                part.training = mode  # not part.train(mode), which would reach into its children


@contextmanager
def undisturbed(module: nn.Module) -> Iterator[None]:
    """Within, the module is in evaluation mode; afterwards its modes and all random states are as before."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    on_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    try:
        with evaluating(module):
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        if on_gpus:
            torch.cuda.set_rng_state_all(on_gpus)


@contextmanager
def remembered(module: nn.Module) -> Iterator[None]:
    """Afterwards the buffers of a module, a transfer loss's memory say, are the same tensors with the same values."""
    held = [(part, dict(part._buffers)) for part in module.modules() if part._buffers]
    values = [{name: None if b is None else b.clone() for name, b in buffers.items()} for _, buffers in held]
    try:
        yield
    finally:
        with torch.no_grad():
            for (part, buffers), before in zip(held, values, strict=True):
                part._buffers = buffers
                for name, value in before.items():
                    if value is not None:
                        part.get_buffer(name).copy_(value)


def _parts(module: nn.Module) -> Iterator[nn.Module]:
    """Every part of a module, some several times; a net knows its own."""
    yield module
    if isinstance(module, Backbone):
        yield from module.inside
    else:
        for child in module.children():
            yield from _parts(child)
