"""Test samples that training, or the source's training, has seen: the same inputs, counted by a hash of each."""

import hashlib
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from transferlab.data.samples import Samples
from transferlab.errors import InputError
from transferlab.files import write_bytes
from transferlab.values import Seq, Value

FILE = "samples.digests"
"""Beside a run's weights: what they were trained and selected on, as `write_seen` has it."""

Identities: TypeAlias = NDArray[np.uint64]
_log = logging.getLogger(__name__)
_BATCH = 256


@runtime_checkable
class Digesting(Protocol):
    """Samples that know a hash of each input without making a batch of them."""

    def digests(self) -> list[bytes]:
        """One for each sample, of its input alone."""
        ...


@runtime_checkable
class Identified(Protocol):
    """Samples that another data set may know by something else than their inputs here."""

    def identities(self) -> Identities:
        """(N, k): hashes, of which one that is known is enough."""
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
    return [hashed(one) for batch in batches for one in _each(batch)]


def hashed(array: NDArray[Any]) -> bytes:
    """A hash of one sample's values."""
    return hashlib.blake2b(array.tobytes(), digest_size=16).digest()


def identities(samples: Samples) -> Identities:
    """By what samples are known from set to set, whoever reads them: (N, k), of unprepared samples.

    Equal are files of the same bytes, arrays of the same kind and values, texts of the same letters and digits, rows of
    the same cells.
    """
    return samples.identities() if isinstance(samples, Identified) else as_identities(digests(samples))


def as_identities(hashes: Sequence[bytes]) -> Identities:
    """The first 64 bits of each hash, (N, 1)."""
    return np.frombuffer(b"".join(one[:8] for one in hashes), "<u8").astype(np.uint64)[:, None]


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


def source_duplicates(test: Samples, *seen: Identities) -> int | None:
    """How many test samples the source or a teacher has seen; warned of in one line. None where nothing is known.

    Args:
        test: the target's test split.
        seen: what each was trained and selected on.
    """
    if not seen:
        return None
    mine = identities(test)
    found = np.flatnonzero(np.any([np.isin(mine, one).any(1) for one in seen], 0))
    if len(found):
        _log.warning(
            "%d of %d test samples (%.3g %%) are among those that the source or a teacher was trained or selected on "
            "(the first: %s of the test split): their scores show what it learned by heart; remove them from either",
            len(found),
            len(test),
            100 * len(found) / len(test),
            _named(test, int(found[0])),
        )
    return len(found)


def check_hidden(unlabeled: Samples, *seen: Identities) -> None:
    """See that what the source or a teacher has seen does not show the labels that a target hides.

    Args:
        unlabeled: of the target.
        seen: what each was trained and selected on.

    Raises:
        InputError: most of the target's samples are among it.
    """
    mine = identities(unlabeled)
    shown = int(np.any([np.isin(mine, one).any(1) for one in seen], 0).sum()) if seen else 0
    if shown > len(mine) / 2:
        raise InputError(
            f"{shown} of {len(mine)} target samples whose labels are hidden are among those that the source or a "
            "teacher was trained on, with their labels: choose another source, or target.labels=all"
        )
    if shown:
        _log.warning(
            "%d of %d target samples whose labels are hidden are among those that the source or a teacher was trained "
            "on, with their labels",
            shown,
            len(mine),
        )


def seen_by(weights: str | None) -> Identities | None:
    """What weights of an earlier run were trained and selected on, (M,); None where nothing beside them says so."""
    file = Path(weights).parent / FILE if weights is not None and Path(weights).is_file() else None
    return np.frombuffer(file.read_bytes(), "<u8").astype(np.uint64) if file is not None and file.is_file() else None


def write_seen(folder: Path, seen: Iterable[Identities]) -> None:
    """Keep what a run trains and selects on, for those that start from its weights: 8 bytes a hash, sorted."""
    every = np.unique(np.concatenate([one.ravel() for one in seen]))
    write_bytes(folder / FILE, every.astype("<u8").tobytes())


def _each(batch: Value) -> Iterable[NDArray[Any]]:
    if isinstance(batch, Seq):
        return (h[mask].numpy() for h, mask in zip(batch.h, batch.mask, strict=True))
    assert isinstance(batch, Tensor)
    return batch.numpy()


def _named(samples: Samples, index: int) -> str:
    return samples.place(index) if isinstance(samples, Traced) else f"sample {index}"
