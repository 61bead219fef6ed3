"""Processes that do one task after another; one that dies costs its task, and another takes its place."""

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Generic, TypeAlias, TypeVar

from transferlab.offspring import follow_parent, how

Task = TypeVar("Task")
Tell: TypeAlias = Callable[[Any], None]

_GLANCE = 1.0
"""Seconds between two looks at whether a process lives: its children may keep its pipes open when it does not."""
PATIENCE = 30.0
"""Seconds that processes which are told to stop have for it, all together."""
_DONE = None  # what a process tells after a task


@dataclass(frozen=True)
class Died:
    """A process ended in the middle of a task.

    Attributes:
        how: in a few words.
    """

    how: str


@dataclass
class _Worker(Generic[Task]):
    process: SpawnProcess
    connection: Connection
    task: Task | None = None


class Pool(Generic[Task]):
    """So many processes at most, started when there is a task for them, ended when the `with` is over.

    Attributes:
        size: how many.
        work: does a task in a process, and tells the parent what it has to tell.
    """

    def __init__(self, size: int, work: Callable[[Task, Tell], None]) -> None:
        self.size, self.work = size, work
        self._workers: list[_Worker[Task]] = []

    def __enter__(self) -> "Pool[Task]":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            for worker in self._workers:
                worker.connection.close()  # who waits for a task finds that there will be none
                if kind is not None:
                    _interrupt(worker.process)
            until = time.monotonic() + PATIENCE
            for worker in self._workers:
                worker.process.join(max(0.0, until - time.monotonic()))
        finally:
            for worker in self._workers:
                worker.process.kill()
                worker.process.join()

    def told(self, tasks: deque[Task], more: Iterable[Task] = ()) -> Iterator[tuple[Task, Any]]:
        """Do tasks until there are no more; some may be added meanwhile.

        Args:
            tasks: that are there.
            more: that are still to be made, one by one, while processes do those that are there.

        Yields:
            A task and something told of it, in the order in which it comes; `Died` where nothing will be any more.
        """
        coming = iter(more)
        while True:
            while tasks and (worker := self._idle()) is not None:
                worker.task = tasks.popleft()
                with suppress(OSError):  # it died while idle, which is seen below
                    worker.connection.send(worker.task)
            made = list(islice(coming, 1))
            tasks.extend(made)
            busy = [worker for worker in self._workers if worker.task is not None]
            if not tasks and not busy:
                return
            ready = wait([worker.connection for worker in busy], 0.0 if made else _GLANCE)
            for worker in busy:
                if worker.connection in ready:
                    yield from self._heard(worker)
                elif worker.process.exitcode is not None and not worker.connection.poll():
                    yield from self._lost(worker)

    def _idle(self) -> _Worker[Task] | None:
        for worker in self._workers:
            if worker.task is None:
                return worker
        if len(self._workers) == self.size:
            return None
        spawn = get_context("spawn")
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=_main, args=(theirs,))
        process.start()
        theirs.close()
        # not among the arguments: what fills their pipe would never be written for one that is killed as it starts
        with suppress(OSError):
            ours.send(self.work)
        self._workers.append(_Worker(process, ours))
        return self._workers[-1]

    def _heard(self, worker: _Worker[Task]) -> Iterator[tuple[Task, Any]]:
        assert worker.task is not None
        try:
            message = worker.connection.recv()
        except (EOFError, OSError):
            yield from self._lost(worker)
            return
        if message is _DONE:
            worker.task = None
        else:
            yield worker.task, message

    def _lost(self, worker: _Worker[Task]) -> Iterator[tuple[Task, Any]]:
        assert worker.task is not None
        self._workers.remove(worker)
        worker.connection.close()
        worker.process.join(PATIENCE)
        worker.process.kill()  # it closed its end and lives: it is of no use
        worker.process.join()
        yield worker.task, Died(how(worker.process.exitcode or 0))


def _main(connection: Connection) -> None:
    """What a process does until its parent closes the connection or dies."""
    follow_parent()  # which passes Ctrl-C on, once
    one_at_a_time = threading.Lock()

    def tell(message: Any) -> None:
        with one_at_a_time:
            connection.send(message)

    with suppress(EOFError, KeyboardInterrupt, BrokenPipeError):
        work = connection.recv()
        while True:
            work(connection.recv(), tell)
            tell(_DONE)


def _interrupt(process: SpawnProcess) -> None:
    """Have a process end its task in order, where it can be told to."""
    if hasattr(os, "setpgrp") and process.pid is not None and process.exitcode is None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGINT)
