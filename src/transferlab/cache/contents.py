"""What files hold, by a hash of each that later processes find again: who knows a hash need not read the file.

An entry counts as long as path, size and times of change are those that the file had when it was read.
"""

import hashlib
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

FILE = "contents.sqlite"
"""Of a cache's folder."""
_SETTLED = 2.0  # seconds: what has changed since may change again unseen, within one tick of the disk's clock
_MADE = "CREATE TABLE IF NOT EXISTS contents (path TEXT PRIMARY KEY, size, modified, changed, digest, seal)"
_ASKED = "SELECT path, size, modified, changed, digest, seal FROM contents WHERE path = ?"
_log = logging.getLogger(__name__)


class State(NamedTuple):
    """A file as the system describes it; times in nanoseconds."""

    path: str
    size: int
    modified: int
    changed: int

    @classmethod
    def of(cls, file: str) -> "State":
        """As it is now."""
        found = os.stat(file)
        # a name that is no text would be none in the book
        path = os.path.abspath(file).encode(errors="backslashreplace").decode()
        return cls(path, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


class Book:
    """Hashes of files, on a disk, shared by all processes.

    Args:
        file: that it lies in.
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    def found(self, states: Iterable[State]) -> dict[State, bytes]:
        """Those of files that are known as they are; what is damaged is said, and not known."""
        if not self.file.is_file():
            return {}
        try:
            with closing(sqlite3.connect(self.file)) as book:
                rows = {one: book.execute(_ASKED, one[:1]).fetchone() for one in states}
        except sqlite3.Error as error:
            _log.warning("%s cannot be read (%s): files are read anew", self.file, error)
            if not isinstance(error, sqlite3.OperationalError):  # another process may hold it
                self.file.unlink(missing_ok=True)
            return {}
        same = {one: row for one, row in rows.items() if row is not None and row[1:4] == one[1:]}
        whole = {one: row[4] for one, row in same.items() if row[5] == _seal(one, row[4])}
        if damaged := next((one.path for one in same if one not in whole), None):
            _log.warning("%s is damaged in what it says of %s: the file is read anew", self.file, damaged)
        return whole

    def add(self, new: Mapping[State, bytes], seen: int) -> None:
        """Keep these, in place of what is known of the same paths.

        Args:
            new: hashes of files.
            seen: when they were as their states say, before they were read; nanoseconds.
        """
        late = seen - _SETTLED * 1e9
        rows = [(*one, digest, _seal(one, digest)) for one, digest in new.items() if max(one[2:]) <= late]
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.file)) as book, book:
                book.execute(_MADE)
                book.executemany("INSERT OR REPLACE INTO contents VALUES (?, ?, ?, ?, ?, ?)", rows)
        except (sqlite3.Error, OSError) as error:
            _log.warning("%s cannot be written (%s): files will be read again", self.file, error)


_here: dict[State, bytes] = {}  # what this process knows
_books: list[Book | None] = []  # of the runs under way, a source's own last


@contextmanager
def kept(folder: Path | None) -> Iterator[None]:
    """Within, hashes are looked up and kept in a cache's folder; None: nowhere beyond this process."""
    _books.append(None if folder is None else Book(folder / FILE))
    try:
        yield
    finally:
        _books.pop()


def digests(files: Sequence[str], read: Callable[[str], bytes]) -> list[bytes]:
    """The hash of each file's content.

    Args:
        files: their paths.
        read: reads one and gives its hash; whatever is wrong with it is found there.
    """
    seen, states = time.time_ns(), [State.of(file) for file in files]
    book = _books[-1] if _books else None
    if book is not None and (lacking := [one for one in states if one not in _here]):
        _here.update(book.found(lacking))
    asked = dict(zip(states, files, strict=True))
    new = {one: read(file) for one, file in asked.items() if one not in _here}
    _here.update(new)
    if book is not None and new:
        book.add(new, seen)
    return [_here[one] for one in states]


def _seal(state: State, digest: bytes) -> bytes:
    """By which an entry is known to be as it was written."""
    return hashlib.blake2b(repr((*state, digest)).encode(), digest_size=8).digest()
