"""Test samples that training has seen: the very same inputs, counted by a hash of each."""

import hashlib
import logging
from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray
from torch import Tensor

from transferlab.data.samples import Samples
from transferlab.values import Seq, Value

_log = logging.getLogger(__name__)
_BATCH = 256


@runtime_checkable
class Digesting(Protocol):
    """Samples that know a hash of each input without making a batch of them."""

    def digests(self) -> list[bytes]:
        """One for each sample, of its input alone."""
        ...


@runtime_checkable
class Traced(Protocol):
    """Samples that know where each comes from."""

    def place(self, index: int) -> str:
        """For messages: a file, a row."""
        ...


def digests(samples: Samples) -> list[bytes]:
    """A hash of each sample's input."""
    if isinstance(samples, Digesting):
        return samples.digests()
    starts = range(0, len(samples), _BATCH)
    batches = (samples[range(start, min(start + _BATCH, len(samples)))][0] for start in starts)
    return [hashlib.blake2b(one.tobytes(), digest_size=8).digest() for batch in batches for one in _each(batch)]


def duplicates(test: Samples, *others: Samples) -> int:
    """How many test samples other parts hold too; warned of in one line.

    Args:
        test: the test split.
        others: what is trained and selected on.
    """
    known = {digest: (part, place) for part in others for place, digest in enumerate(digests(part))}
    found = [(index, *known[digest]) for index, digest in enumerate(digests(test)) if digest in known]
    if found:
        index, part, place = found[0]
        _log.warning(
            "%d of %d test samples are among those that are trained or selected on (the first: %s of the test split is "
            "%s): their scores show what was learned by heart; remove them from either",
            len(found),
            len(test),
            _named(test, index),
            _named(part, place),
        )
    return len(found)


def _each(batch: Value) -> Iterable[NDArray[Any]]:
    if isinstance(batch, Seq):
        return (h[mask].numpy() for h, mask in zip(batch.h, batch.mask, strict=True))
    assert isinstance(batch, Tensor)
    return batch.numpy()


def _named(samples: Samples, index: int) -> str:
    return samples.place(index) if isinstance(samples, Traced) else f"sample {index}"
