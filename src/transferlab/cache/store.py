"""Rows of activations on a disk, found by what they were computed with and by sample, shared by all processes.

<folder>/<key>/<segment>/     segment.json, digests, columns: written beside and renamed when whole
<folder>/<key>/used           touched whenever the key is opened
<folder>/<key>.lock           held by the process that computes missing rows
"""

import errno
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from transferlab.cache.columns import Column, Writer, merged, sums
from transferlab.cache.packing import Leaf, Plan, put_together, taken_apart

FOLDER = "activations"
"""Of a cache's folder: all of them."""
_ABOUT, _DIGESTS, _USED = "segment.json", "digests", "used"
_log = logging.getLogger(__name__)
_sound: set[tuple[object, ...]] = set()
"""Segments that this process has checked, as they were then."""


class CacheError(Exception):
    """The cache cannot be used, and a run goes on without: a full disk, a folder that cannot be written."""


@dataclass(frozen=True)
class Segment:
    """Rows that were written together."""

    digests: Sequence[bytes]
    plan: Plan
    columns: Sequence[Column]


class Shelf:
    """The rows of some samples under one key, in the order of these samples.

    Args:
        segments: that hold them.
        digests: of the samples.
    """

    def __init__(self, segments: Sequence[Segment], digests: Sequence[bytes]) -> None:
        self._segments = segments
        places = {one: (number, row) for number, part in enumerate(segments) for row, one in enumerate(part.digests)}
        found = [places.get(one, (-1, -1)) for one in digests]
        self._segment, self._row = torch.tensor(found, dtype=torch.long).reshape(-1, 2).unbind(1)
        self.missing: list[int] = (self._segment < 0).nonzero().flatten().tolist()
        """Positions of the samples that have no row."""

    def fetch(self, positions: Sequence[int] | Tensor) -> Any:
        """The value of a batch: of the samples at these positions, none of them missing."""
        at = torch.as_tensor(positions)
        if len(self._segments) == 1:
            only = self._segments[0]
            return put_together(only.plan, [column.fetch(self._row[at]) for column in only.columns])
        segment, row = self._segment[at], self._row[at]
        numbers = sorted(set(segment.tolist()))
        places = [(segment == number).nonzero().flatten() for number in numbers]
        fetched = [
            [column.fetch(row[at]) for column in self._segments[number].columns]
            for number, at in zip(numbers, places, strict=True)
        ]
        leaves: list[Leaf] = [merged(parts, places) for parts in zip(*fetched, strict=True)]
        return put_together(self._segments[numbers[0]].plan, leaves)


class Store:
    """All of them.

    Args:
        folder: that they lie in.
        gigabytes: of all files together, at most.
        wait: for another process that computes rows of the same key; else it is done without.
    """

    def __init__(self, folder: Path, gigabytes: float, wait: bool) -> None:
        self.folder, self.most, self.wait = folder, int(gigabytes * 1e9), wait

    def shelf(self, key: str, digests: Sequence[bytes]) -> Shelf:
        """What there is of these samples; what is damaged is said, removed and missing."""
        place = self.folder / key
        with suppress(OSError):
            os.utime(place / _USED)
        return Shelf([part for file in sorted(place.glob(f"[!.]*/{_ABOUT}")) if (part := _read(file.parent))], digests)

    @contextmanager
    def held(self, key: str) -> Iterator[bool]:
        """Hold a key to compute its rows; whether it is held, as another process may do the same.

        Raises:
            CacheError: the folder cannot be written.
        """
        lock = FileLock(self.folder / f"{key}.lock")
        with _disk():
            self.folder.mkdir(parents=True, exist_ok=True)
            mine = _acquired(lock)
            if not mine and self.wait:
                _log.info("waiting for another process that computes the same activations (%s)", self.folder / key)
                lock.acquire()
        if not lock.is_locked:
            yield False
            return
        try:
            with _disk():
                (self.folder / key).mkdir(exist_ok=True)
                (self.folder / key / _USED).touch()
            for left in (self.folder / key).glob(".*"):  # by a writer that was killed: who writes holds the lock
                shutil.rmtree(left, ignore_errors=True)
            yield True
        finally:
            lock.release()

    def add(
        self,
        key: str,
        digests: Sequence[bytes],
        batches: Iterable[tuple[Any, int]],
        kind: torch.dtype | None,
        about: Mapping[str, Any],
    ) -> None:
        """Write rows as one segment; the key is held.

        Args:
            key: of all of them.
            digests: of the samples, in the order of the batches.
            batches: values with their numbers of samples.
            kind: of floating-point numbers in the file; None: as they come.
            about: what the key stands for, in words, for whoever lists the cache.

        Raises:
            CacheError: the disk is full, or cannot be written.
            UncacheableError: the values cannot be kept by sample.
        """
        with _disk():
            beside = Path(tempfile.mkdtemp(dir=self.folder / key, prefix="."))
        try:
            with _disk():
                plan, columns = _written(beside, batches, kind)
                known = b"".join(digests)
                (beside / _DIGESTS).write_bytes(known)
                said = {"rows": len(digests), "digests": crc32(known), "plan": plan, "columns": columns}
                said["about"] = dict(about)
                (beside / _ABOUT).write_text(json.dumps({"sum": crc32(json.dumps(said).encode()), **said}))
                os.chmod(beside, 0o755)  # mkdtemp gives 0700; the cache is for everybody
                os.replace(beside, self.folder / key / beside.name.removeprefix("."))
        finally:
            shutil.rmtree(beside, ignore_errors=True)

    def make_room(self, needed: int, *keep: str) -> bool:
        """Remove the keys that were not used for longest until there is room for so many bytes.

        Args:
            needed: bytes.
            keep: keys that stay.

        Returns:
            Whether there is room.
        """
        with _disk():
            entries = self.entries()
        total = sum(entry["bytes"] for entry in entries)
        for entry in entries:
            if total + needed <= self.most:
                break
            if entry["key"] not in keep and self.remove(entry["key"]):
                total -= entry["bytes"]
        return bool(total + needed <= self.most)

    def entries(self) -> list[dict[str, Any]]:
        """Every key, the one not used for longest first: key, about, rows, bytes, and seconds since it was used."""
        found = []
        for place in self.folder.iterdir() if self.folder.is_dir() else ():
            with suppress(FileNotFoundError):  # another process removes it
                if place.is_dir():
                    found.append(_entry(place))
        return sorted(found, key=lambda entry: (-float(entry["idle"]), str(entry["key"])))

    def remove(self, key: str) -> bool:
        """Remove a key unless some process holds it; whether it is gone."""
        lock = FileLock(self.folder / f"{key}.lock")
        if not _acquired(lock):
            return False
        try:
            shutil.rmtree(self.folder / key, ignore_errors=True)
        finally:
            lock.release()
        return not (self.folder / key).exists()

    def damaged(self) -> list[Path]:
        """Segments whose files are not as they were written."""
        files = sorted(self.folder.glob(f"*/[!.]*/{_ABOUT}"))
        found = []
        for file in files:
            with suppress(FileNotFoundError):  # removed meanwhile
                found += [] if _is_whole(file.parent) else [file.parent]
        return found


def _entry(place: Path) -> dict[str, Any]:
    said = []
    for file in sorted(place.glob(f"[!.]*/{_ABOUT}")):
        with suppress(ValueError):  # damaged, which its next reader notices
            said.append(json.loads(file.read_text()))
    used = place / _USED
    return {
        "key": place.name,
        "about": said[0].get("about", {}) if said else {},
        "rows": sum(one.get("rows", 0) for one in said),
        "bytes": sum(file.stat().st_size for file in place.rglob("*") if file.is_file()),
        "idle": time.time() - (used if used.exists() else place).stat().st_mtime,
    }


def _acquired(lock: FileLock) -> bool:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    return True


def _written(
    folder: Path, batches: Iterable[tuple[Any, int]], kind: torch.dtype | None
) -> tuple[Plan, list[dict[str, Any]]]:
    writers: list[Writer] = []
    plan: Plan = None
    for value, count in batches:
        plan, leaves = taken_apart(value, count)
        writers = writers or [Writer(folder, str(number), kind) for number in range(len(leaves))]
        for writer, leaf in zip(writers, leaves, strict=True):
            writer.add(leaf)
    return plan, [writer.close() for writer in writers]


def _read(folder: Path) -> Segment | None:
    """A segment; None where it is damaged, or was removed meanwhile."""
    try:
        if not _is_whole(folder):
            _log.warning("%s is damaged: its activations are computed anew", folder)
            shutil.rmtree(folder, ignore_errors=True)
            return None
        said = json.loads((folder / _ABOUT).read_text())
        digests = (folder / _DIGESTS).read_bytes()
        each = len(digests) // max(said["rows"], 1)
        cut = [digests[start : start + each] for start in range(0, len(digests), each)]
        return Segment(cut, said["plan"], [Column(folder, form) for form in said["columns"]])
    except (FileNotFoundError, RuntimeError):  # torch's word for a file that is gone
        return None


def _is_whole(folder: Path) -> bool:
    """Whether every file is as it was written; of files that did not change since they were looked at, as before."""
    state = tuple((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in sorted(folder.iterdir()))
    if (folder, *state) in _sound:
        return True
    try:
        said = json.loads((folder / _ABOUT).read_text())
        whole = said.pop("sum") == crc32(json.dumps(said).encode())
        whole = whole and crc32((folder / _DIGESTS).read_bytes()) == said["digests"]
        whole = whole and all(good for form in said["columns"] for good in sums(folder, form))
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
    if whole:
        _sound.add((folder, *state))
    return whole


@contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise CacheError("the disk is full" if full else error.strerror or str(error)) from error
