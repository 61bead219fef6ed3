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
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from transferlab.cache import segments
from transferlab.cache.packing import UncacheableError
from transferlab.cache.segments import ABOUT, Shelf
from transferlab.files import try_lock

FOLDER = "activations"
"""Of a cache's folder: all of them."""
_USED = "used"
_ROWS = 256  # that are written at once where segments are made one
_SEGMENTS = 16  # of a key, before they are made one: each takes its time in every batch
_log = logging.getLogger(__name__)


class CacheError(Exception):
    """The cache cannot be used, and a run goes on without: a full disk, a folder that cannot be written."""


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
        with suppress(OSError):
            os.utime(self.folder / key / _USED)
        found = [segments.read(part) for part in self._parts(key)]
        return Shelf([part for part in found if part is not None], digests)

    @contextmanager
    def held(self, key: str) -> Iterator[bool]:
        """Hold a key to compute its rows; whether it is held, as another process may do the same.

        Raises:
            CacheError: the folder cannot be written.
        """
        lock = FileLock(self.folder / f"{key}.lock")
        with _disk():
            self.folder.mkdir(parents=True, exist_ok=True)
            mine = try_lock(lock)
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
        """Write rows as one segment, or as one with those that are there where these are many; the key is held.

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
        self._write(key, digests, batches, kind, about)
        parts = self._parts(key)
        room = self.most - sum(entry["bytes"] for entry in self.entries())
        if len(parts) >= _SEGMENTS and sum(_size(part) for part in parts) <= room:
            with suppress(CacheError, UncacheableError, RuntimeError):  # they do as well apart
                self._merge(key, parts, kind, about)

    def _merge(self, key: str, parts: Sequence[Path], kind: torch.dtype | None, about: Mapping[str, Any]) -> None:
        """Write segments again as one, and remove them; who has them open keeps what he has."""
        found = [segment for part in parts if (segment := segments.read(part)) is not None]
        digests = list(dict.fromkeys(digest for segment in found for digest in segment.digests))
        if not digests:
            return
        shelf, every = Shelf(found, digests), range(len(digests))
        cuts = [every[first : first + _ROWS] for first in range(0, len(every), _ROWS)]
        self._write(key, digests, ((shelf.fetch(cut), len(cut)) for cut in cuts), kind, about)
        for part in parts:
            shutil.rmtree(part, ignore_errors=True)

    def _write(self, key: str, *rows: Any) -> None:
        """A segment of rows, as `segments.write` takes them."""
        with _disk():
            beside = Path(tempfile.mkdtemp(dir=self.folder / key, prefix="."))
        try:
            with _disk():
                segments.write(beside, *rows)
                os.chmod(beside, 0o755)  # mkdtemp gives 0700; the cache is for everybody
                os.replace(beside, self.folder / key / beside.name.removeprefix("."))
        finally:
            shutil.rmtree(beside, ignore_errors=True)

    def _parts(self, key: str) -> list[Path]:
        """The folders of a key's segments."""
        return sorted(file.parent for file in (self.folder / key).glob(f"[!.]*/{ABOUT}"))

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
        if not try_lock(lock):
            return False
        try:
            shutil.rmtree(self.folder / key, ignore_errors=True)
        finally:
            lock.release()
        return not (self.folder / key).exists()

    def damaged(self) -> list[Path]:
        """Segments whose files are not as they were written."""
        files = sorted(self.folder.glob(f"*/[!.]*/{ABOUT}"))
        found = []
        for file in files:
            with suppress(FileNotFoundError):  # removed meanwhile
                found += [] if segments.is_whole(file.parent) else [file.parent]
        return found


def _entry(place: Path) -> dict[str, Any]:
    said = []
    for file in sorted(place.glob(f"[!.]*/{ABOUT}")):
        with suppress(ValueError):  # damaged, which its next reader notices
            said.append(json.loads(file.read_text()))
    used = place / _USED
    return {
        "key": place.name,
        "about": said[0].get("about", {}) if said else {},
        "rows": sum(one.get("rows", 0) for one in said),
        "bytes": _size(place),
        "idle": time.time() - (used if used.exists() else place).stat().st_mtime,
    }


def _size(place: Path) -> int:
    return sum(file.stat().st_size for file in place.rglob("*") if file.is_file())


@contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise CacheError("the disk is full" if full else error.strerror or str(error)) from error
