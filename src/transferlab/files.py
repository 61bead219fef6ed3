"""How files are written: whole or not at all, and with a sentence where the system refuses. No torch."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from transferlab.errors import InputError

TEMPORARY = re.compile(r"\.(.+)-[a-z0-9_]{8}")
"""What is written beside its place until it is whole; a process that is killed meanwhile leaves it there."""


def write_text(path: Path, text: str) -> None:
    """Write a text file as `write_bytes` does, and wait until the disk has it."""
    write_bytes(path, text.encode(), sync=True)


def write_bytes(path: Path, content: bytes | memoryview, sync: bool = False) -> None:
    """Write a file beside its place and move it there when it is whole.

    Args:
        path: of the file.
        content: all of it.
        sync: wait until the disk has it, so that it outlives a loss of power too.

    Raises:
        InputError: the folder cannot be written, or the disk is full.
    """
    with writable(path.parent):
        handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                if sync:
                    os.fsync(file.fileno())
            os.chmod(beside, 0o644)  # mkstemp gives 0600; a record is for everybody
            os.replace(beside, path)
        except BaseException:
            Path(beside).unlink(missing_ok=True)
            raise


def same(path: Path, other: Path) -> None:
    """Have a file a second name; where the disk knows no such thing, a copy.

    Files here are replaced and never written into, so that neither name can change what the other stands for.
    """
    with writable(path.parent), tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{other.name}-") as folder:
        beside = Path(folder, other.name)
        try:
            beside.hardlink_to(path)
        except OSError:
            shutil.copyfile(path, beside)
        os.replace(beside, other)


def remove_halves(folder: Path) -> None:
    """Remove what killed processes left half-written in a folder, in which nobody else writes now."""
    for path in folder.iterdir():
        if TEMPORARY.fullmatch(path.name):
            with suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def check_writable(folder: Path, key: str = "paths.runs") -> None:
    """Make a folder and try it, before anything long starts.

    Args:
        folder: where something will be written.
        key: what sets it, for the message.

    Raises:
        InputError: it cannot be made or written.
    """
    with writable(folder, key):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass


def try_lock(lock: FileLock) -> bool:
    """Take a lock unless another process, or another holder in this one, has it."""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    return True


@contextmanager
def writable(place: Path, key: str = "paths.runs") -> Iterator[None]:
    """Turns the system's refusal to write into a sentence.

    Args:
        place: what is written.
        key: what sets it.

    Raises:
        InputError: no space, no permission, no such folder.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"cannot write to {place}: {reason}; free it or set {key} to another folder") from error
