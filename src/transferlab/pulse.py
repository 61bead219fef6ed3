"""The sign of life of a run: who does it, since when, how far it is; renewed while it runs. No torch."""

import errno
import fcntl
import json
import os
import platform
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transferlab.errors import InputError
from transferlab.files import write_bytes

FILE = ".alive"
"""In a run's folder, while it runs."""
EVERY = 20.0
"""Seconds from one renewal to the next."""
SILENCE = 3 * EVERY
"""Seconds after which a run of another machine counts as dead."""


class Pulse:
    """The sign of life of the run in a folder, within a `with`; where it cannot be written the run goes on without."""

    def __init__(self, run: Path) -> None:
        self._file = run / FILE
        self._told: dict[str, Any] = {"machine": platform.node(), "pid": os.getpid(), "since": time.time()}
        self._record: Mapping[str, Any] = {}
        self._epochs: int | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> "Pulse":
        self._write()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        with suppress(OSError):
            self._file.unlink()

    def follow(self, record: Mapping[str, Any], epochs: int | None) -> None:
        """Tell from now on how many rows the history of a record has, of how many epochs there will be."""
        self._record, self._epochs = record, epochs

    def _beat(self) -> None:
        while not self._ended.wait(EVERY):
            self._write()

    def _write(self) -> None:
        told = {**self._told, "epoch": len(self._record.get("history") or ()), "epochs": self._epochs}
        with suppress(InputError):
            write_bytes(self._file, json.dumps(told).encode())


@dataclass(frozen=True)
class Sign:
    """What a running process last said of itself.

    Attributes:
        machine: its name.
        pid: of the process.
        since: when it took the run, in seconds since 1970.
        epoch: how many epochs are over.
        epochs: of how many; None: that is not known.
        age: seconds since it said so.
    """

    machine: str
    pid: int
    since: float
    epoch: int
    epochs: int | None
    age: float


def sign(run: Path) -> Sign | None:
    """The last sign of life in a run's folder, of a process that may be dead."""
    file = run / FILE
    try:
        return Sign(**json.loads(file.read_bytes()), age=time.time() - file.stat().st_mtime)
    except (OSError, ValueError, TypeError):
        return None


def is_running(lock: Path, last: Sign | None) -> bool:
    """Whether a living process does a run.

    Of processes on this machine, and wherever locks reach across machines, the lock says so. Where they do not (NFS
    with `local_lock`, Lustre with `localflock`), a run of another machine counts as running for a minute after its last
    sign of life, as far as the clocks of both machines agree; machines of one name count as one.

    Args:
        lock: of the run.
        last: its last sign of life.
    """
    held = _is_held(lock)
    if held:
        return True
    return is_elsewhere(last) or (held is None and last is not None and last.age < SILENCE)


def is_elsewhere(last: Sign | None) -> bool:
    """Whether a process of another machine may be alive, by its last sign of life, whatever the lock says."""
    return last is not None and last.machine != platform.node() and last.age < SILENCE


def _is_held(lock: Path) -> bool | None:
    """Whether a process holds a lock, which is not taken from anyone; None where the file system has no locks."""
    try:
        handle = os.open(lock, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return True if error.errno in (errno.EAGAIN, errno.EACCES) else None
    finally:
        os.close(handle)
    return False
