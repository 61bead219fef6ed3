"""Tasks of Ray's, and what is told of them while they are done. No torch."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from transferlab import progress
from transferlab.cores import threads
from transferlab.errors import InputError
from transferlab.launching.pool import PATIENCE, Died, Tell
from transferlab.launching.worker import Ended

Task = TypeVar("Task")

_GLANCE = 0.2
"""Seconds between two looks at what was told."""
_OWN = "TRANSFERLAB_"
"""How the variables begin that a task is to have, on whatever machine it is done."""


@dataclass(frozen=True)
class _Place:
    """Where a task finds itself, whatever machine does it.

    Attributes:
        folder: that of the command.
        variables: of its environment.
    """

    folder: str
    variables: Mapping[str, str]


class Tasks(Generic[Task]):
    """A cluster within a `with`: one that is there already is left as it was, one of its own ends.

    Attributes:
        ray: the library.
        work: does a task in a process of Ray's, and tells the parent what it has to tell.
        init: what Ray is asked for at the start.
        remote: what a task needs; its CPUs are its threads.
    """

    def __init__(
        self, ray: Any, work: Callable[[Task, Tell], None], init: Mapping[str, Any], remote: Mapping[str, Any]
    ) -> None:
        self.ray, self.work, self.init, self.remote = ray, work, init, remote
        self._sent: list[Task] = []
        self._open: dict[Any, Task] = {}

    def __enter__(self) -> "Tasks[Task]":
        from ray.util.queue import Queue

        try:
            self.ray.init(**{key: value for key, value in self.init.items() if value is not None})
        except (ValueError, TypeError, ConnectionError, RuntimeError) as error:
            raise InputError(f"hydra.launcher.ray.init: Ray does not start: {' '.join(str(error).split())}") from error
        try:
            at_once = self._at_once()
            self._lines = Queue(actor_options={"num_cpus": 0, "max_restarts": -1})
            self._do = self.ray.remote(max_retries=0, **self.remote)(_do).options(name="transferlab")
            self._work = self.ray.put(self.work)
        except BaseException:
            self.ray.shutdown()
            raise
        variables = {key: value for key, value in os.environ.items() if key.startswith(_OWN)}
        variables |= {"OMP_NUM_THREADS": threads(int(self.remote["num_cpus"])), progress.AT_ONCE: str(at_once)}
        self._place = _Place(os.getcwd(), variables)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if self._open:
                for reference in self._open:
                    self.ray.cancel(reference)  # as Ctrl-C would: runs end in order
                self.ray.wait(list(self._open), num_returns=len(self._open), timeout=PATIENCE)
        finally:
            self.ray.shutdown()

    def told(self, tasks: deque[Task]) -> Iterator[tuple[Task, Any]]:
        """Do tasks until there are no more; some may be added meanwhile.

        Yields:
            A task and something told of it, in the order in which it comes; `Died` where nothing will be any more.
        """
        while tasks or self._open:
            while tasks:
                self._send(tasks.popleft())
            ended, _ = self.ray.wait(list(self._open), timeout=_GLANCE)
            yield from self._heard()  # by now whatever the ended ones told on the way
            for reference in ended:
                yield from self._end(reference)

    def _at_once(self) -> int:
        """How many tasks a cluster does at once.

        Raises:
            InputError: it will never do any.
        """
        there, needed = self.ray.cluster_resources(), {"CPU": "num_cpus", "GPU": "num_gpus"}
        parts = (there.get(kind, 0) // self.remote[key] for kind, key in needed.items() if self.remote[key])
        at_once = min(parts, default=1)
        if at_once < 1 and self.init["address"] == "local":
            asked = ", ".join(f"{key}={self.remote[key]}" for key in needed.values())
            has = ", ".join(f"{there.get(kind, 0):g} {kind}" for kind in needed)
            raise InputError(f"hydra.launcher.ray.remote asks for {asked}, and the cluster has {has}: ask for less")
        return max(1, int(at_once))

    def _send(self, task: Task) -> None:
        self._open[self._do.remote(self._work, task, len(self._sent), self._lines, self._place)] = task
        self._sent.append(task)

    def _heard(self) -> Iterator[tuple[Task, Any]]:
        with suppress(self.ray.exceptions.RayError):  # who keeps the lines died, and is started again
            for number, message in self._lines.get_nowait_batch(self._lines.qsize()):
                yield self._sent[number], message

    def _end(self, reference: Any) -> Iterator[tuple[Task, Any]]:
        task = self._open.pop(reference)
        try:
            for message in self.ray.get(reference):
                yield task, message
        except self.ray.exceptions.RayTaskError as error:
            yield task, Died(f"Ray could not begin it: {type(error.cause).__name__}: {error.cause}")
        except self.ray.exceptions.RayError as error:
            yield task, Died(f"its process of Ray's was lost: {type(error).__name__} (was memory short?)")


def _do(work: Callable[[Task, Tell], None], task: Task, number: int, lines: Any, place: _Place) -> list[Ended]:
    """What a process of Ray's does: how jobs ended is what it returns, the rest is told on the way."""
    from ray.exceptions import RayError

    os.chdir(place.folder)
    os.environ.update(place.variables)
    ended: list[Ended] = []

    def tell(message: Any) -> None:
        if isinstance(message, Ended):
            ended.append(message)
        else:
            with suppress(RayError):
                lines.put((number, message))

    work(task, tell)
    return ended
