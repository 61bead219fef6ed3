"""Processes on this machine that the first of a run starts, and ends with the run."""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import torch.distributed as dist
from omegaconf import DictConfig

from transferlab.errors import DivergedError, InputError
from transferlab.offspring import follow_parent, how, portable, spared
from transferlab.processes.backend import Here, group
from transferlab.processes.base import Work

_HERE, _DONE = "here", "done"  # what a process says before the fit, and after it
_GLANCE = 1.0
"""Seconds between two looks at whether a process lives."""
_PATIENCE = 10.0
"""Seconds for a process to say what ended it, or to end."""


@dataclass
class _Process:
    process: SpawnProcess
    connection: Connection


class Started:
    """As the first process sees the others. They are started anew, so that no thread or device is of both.

    Args:
        processes: how many, this one included.
        work: what the others do of a run.
    """

    def __init__(self, processes: int, work: Work) -> None:
        self.size, self.work = processes, work
        self.environment = Here(0, processes)
        self._others: list[_Process] = []

    def call(self, config: DictConfig, folder: Path) -> None:
        """Have the others begin, which are started where there are none yet."""
        if not self._others:
            self._others = [self._start(rank) for rank in range(1, self.size)]
        for other in self._others:
            with suppress(OSError):  # it is dead, which is seen below
                other.connection.send((config, folder))

    @contextmanager
    def together(self) -> Iterator[None]:
        """Within, all are in one group, formed when all are ready.

        Raises:
            Exception: what ended another process.
        """
        self._hear(_HERE)
        store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]
        try:
            for other in self._others:
                other.connection.send(store.port)
            group(self.environment, store)
            yield
            self._hear(_DONE)
        except BaseException as error:
            if isinstance(error, Exception) and not isinstance(error, InputError | DivergedError):
                self._blame(error)
            self.end(at_once=True)
            raise
        finally:
            if dist.is_initialized():
                dist.destroy_process_group()

    def end(self, at_once: bool = False) -> None:
        """End the others."""
        others, self._others = self._others, []
        for other in others:
            other.connection.close()  # who waits for a run finds that there will be none
        until = time.monotonic() + (0.0 if at_once else _PATIENCE)
        for other in others:
            other.process.join(max(0.0, until - time.monotonic()))
            other.process.kill()
            other.process.join()

    def _start(self, rank: int) -> _Process:
        spawn = get_context("spawn")
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=_serve, args=(self.work, theirs, rank, self.size))
        with spared():
            process.start()
        theirs.close()
        return _Process(process, ours)

    def _hear(self, expected: str) -> None:
        for rank, other in enumerate(self._others, start=1):
            while not wait([other.connection, other.process.sentinel], _GLANCE):
                pass
            try:
                said = other.connection.recv()
            except (EOFError, OSError):
                other.process.join(_PATIENCE)
                ended = how(other.process.exitcode or 0)
                self.end(at_once=True)
                raise RuntimeError(f"process {rank} of {self.size} is gone: {ended}") from None
            if said != expected:
                self.end(at_once=True)
                raise said

    def _blame(self, error: Exception) -> None:
        """Raise what ended another process, where that is why this one cannot go on."""
        until = time.monotonic() + _PATIENCE
        while self._others and time.monotonic() < until:
            for rank, other in enumerate(self._others, start=1):
                ended = other.process.exitcode
                if other.connection.poll(_GLANCE / 10) or ended is not None:
                    try:
                        said: Any = other.connection.recv()
                    except (EOFError, OSError):
                        said = RuntimeError(f"process {rank} of {self.size} is gone: {how(ended or 0)}")
                    if isinstance(said, Exception):
                        self.end(at_once=True)
                        raise said from error


class _Other:
    """As a started process sees the others."""

    def __init__(self, rank: int, processes: int, connection: Connection) -> None:
        self.environment, self._connection = Here(rank, processes), connection

    def call(self, config: DictConfig, folder: Path) -> None:
        """The first one does."""

    @contextmanager
    def together(self) -> Iterator[None]:
        """Within, all are in one group."""
        self._connection.send(_HERE)
        port = self._connection.recv()
        group(self.environment, dist.TCPStore("127.0.0.1", port, is_master=False))  # type: ignore[attr-defined]
        try:
            yield
        finally:
            dist.destroy_process_group()


def _serve(work: Work, connection: Connection, rank: int, processes: int) -> None:
    """Do one run after another until the first process closes the connection or dies."""
    follow_parent()
    logging.getLogger("transferlab").setLevel(logging.CRITICAL)  # the first one says it
    other = _Other(rank, processes, connection)
    with suppress(EOFError, OSError):
        said: Exception | str = _DONE
        while said == _DONE:
            config, folder = connection.recv()
            try:
                work(config, folder, other)
            except Exception as error:
                said = portable(error)
            connection.send(said)
    os._exit(0)  # nothing is left to be put in order, and the libraries take their time for it
