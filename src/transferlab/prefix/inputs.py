"""A run's samples as its nets take them, and by what each is known."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any

import torch
from pytorch_lightning import Trainer
from torch import Tensor

from transferlab.cache.packing import UncacheableError
from transferlab.data.module import TransferData
from transferlab.data.samples import Labelled
from transferlab.data.sets import PARTS
from transferlab.inputs.arrays import ArrayInput
from transferlab.values import Pair, Seq, Value


class Inputs:
    """Of all parts of a run's data.

    Args:
        trainer: knows the device and the precision.
        data: the samples.
    """

    def __init__(self, trainer: Trainer, data: TransferData) -> None:
        self.trainer, self.data = trainer, data
        self.rows = {part: rows for part in PARTS if (rows := data.rows(part)) is not None and len(rows)}
        self._digests: dict[str, list[bytes]] = {}
        self._labelled: set[str] = set()

    def admit(self, part: str) -> None:
        """A part that there may not have been at first."""
        if part not in self.rows and (rows := self.data.rows(part)) is not None and len(rows):
            self.rows[part] = rows

    @property
    def leading(self) -> str:
        """The first part that a batch holds samples of."""
        return next(iter(self.rows))

    @cached_property
    def padded(self) -> bool:
        """Whether they differ in length, so that operations are not by sample."""
        return not isinstance(self.data.input, ArrayInput) and _padded(self.first(self.leading, 1)[0])

    def example(self, count: int) -> Value:
        """What a net is looked at by: made-up arrays, for which nothing is read; of other kinds the first samples."""
        if not isinstance(self.data.input, ArrayInput):
            return self.first(self.leading, count)[0]
        made: Tensor = self.trainer.precision_plugin.convert_input(self.data.input.example(count))
        return made.to(self.device)

    @property
    def device(self) -> torch.device:
        """On which nets compute."""
        return self.trainer.strategy.root_device

    def computing(self) -> AbstractContextManager[Any]:
        """Within, nets compute in the run's precision."""
        return self.trainer.precision_plugin.forward_context()

    def known(self, part: str) -> list[bytes]:
        """By what each row of a part is known."""
        if part not in self._digests:
            self._digests[part] = self.rows[part].known()
        return self._digests[part]

    def batches(self, part: str, rows: Sequence[int], size: int) -> Iterator[tuple[Value, Tensor]]:
        """Rows of a part, `size` at most in a batch, normalised, on the device, in the run's precision."""
        for read in self.rows[part].read(rows, size):
            # one that changes comes with seeds, as in training
            batch = self.trainer.precision_plugin.convert_input({part: read} if len(read) == 3 else read)
            moved = self.trainer.strategy.batch_to_device(batch)
            yield moved[part] if isinstance(moved, Mapping) else moved

    def first(self, part: str, count: int) -> tuple[Value, Tensor]:
        """The first rows of a part, as many as it has of them."""
        return next(self.batches(part, range(min(count, len(self.rows[part]))), count))

    def check_labels(self, part: str) -> None:
        """See that the labels are there without the inputs.

        Raises:
            UncacheableError: they are not.
        """
        if part in self._labelled or isinstance(self.rows[part].samples, Labelled):
            return
        _, y = self.first(part, 2)
        if not _equal(self.rows[part].labels(range(len(y))).to(y), y):
            raise UncacheableError("the labels are read along with the inputs, whose reading is to be saved")
        self._labelled.add(part)


def _padded(x: Value) -> bool:
    return isinstance(x, Seq) or (isinstance(x, Pair) and any(map(_padded, x)))


def _equal(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    return torch.allclose(one, other, equal_nan=True) if one.is_floating_point() else torch.equal(one, other)
