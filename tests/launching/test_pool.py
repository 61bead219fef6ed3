"""A process that dies costs its task and no other; none is left when the pool is over, or its parent is gone."""

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from transferlab.launching.pool import Died, Pool


def work(task: str, tell: Callable[[object], None]) -> None:
    tell(os.getpid())
    if task == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if task == "gives up":
        os._exit(3)
    if task == "has a child":
        child = multiprocessing.get_context("fork").Process(target=int)
        child.start()
        child.join()
    if task == "sleeps":
        time.sleep(600)
    tell(task.upper())


def wait_for_the_end(pid: int) -> None:
    for _ in range(600):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail(f"process {pid} is still there")


def test_a_process_that_dies_costs_its_task_alone() -> None:
    tasks = deque(["a", "dies", "b", "gives up", "has a child", "c"])
    with Pool(2, work) as pool:
        told = list(pool.told(tasks))
    assert {task for task, message in told if message == task.upper()} == {"a", "b", "c", "has a child"}
    ends = {task: message.how for task, message in told if isinstance(message, Died)}
    assert ends == {
        "dies": "its process was ended by SIGKILL (was memory short?)",
        "gives up": "its process ended with status 3",
    }


def test_a_process_does_one_task_after_another_and_a_dead_one_is_replaced() -> None:
    with Pool(1, work) as pool:
        told = list(pool.told(deque(["a", "b", "dies", "c"])))
    pids = {task: message for task, message in told if isinstance(message, int)}
    assert pids["a"] == pids["b"] == pids["dies"] != pids["c"]
    assert [message for _, message in told if isinstance(message, str)] == ["A", "B", "C"]


def test_a_task_may_be_added_while_others_are_done() -> None:
    tasks = deque(["dies"])
    with Pool(1, work) as pool:
        for _, message in pool.told(tasks):
            if isinstance(message, Died):
                tasks.append("a")
            last = message
    assert last == "A"


def test_tasks_are_done_while_others_are_still_made() -> None:
    heard: list[object] = []

    def made() -> Iterator[str]:
        for task in "abcde":
            until = time.monotonic() + 60
            while task == "e" and "A" not in heard and time.monotonic() < until:
                yield "more"
                time.sleep(0.1)
            yield task

    with Pool(2, work) as pool:
        for _, message in pool.told(deque(["dies"]), made()):
            heard.append(message.how if isinstance(message, Died) else message)
    assert heard.count("its process was ended by SIGKILL (was memory short?)") == 1
    assert {"A", "B", "C", "D", "E"} < set(heard)
    assert "A" in heard[: heard.index("E")]


def test_one_that_dies_between_two_tasks_costs_the_next_alone() -> None:
    with Pool(1, work) as pool:
        ((_, pid), _) = pool.told(deque(["a"]))
        os.kill(pid, signal.SIGKILL)
        wait_for_a_zombie(pool)
        told = list(pool.told(deque(["b", "c"])))
    assert isinstance(told[0][1], Died)
    assert told[-1] == ("c", "C")


def wait_for_a_zombie(pool: Pool) -> None:
    (worker,) = pool._workers
    worker.process.join()


def weighed(_weight: bytes, task: str, tell: Callable[[object], None]) -> None:
    work(task, tell)


def test_one_that_dies_as_it_starts_costs_its_task_alone() -> None:
    there = {child.pid for child in psutil.Process().children()}
    killer = threading.Thread(target=kill_the_first_that_starts, args=(there,))
    killer.start()
    with Pool(1, partial(weighed, bytes(1_000_000))) as pool:
        told = list(pool.told(deque(["a", "b"])))
    killer.join()
    assert isinstance(told[0][1], Died)
    assert told[-1] == ("b", "B")


def kill_the_first_that_starts(there: set[int]) -> None:
    for _ in range(6000):
        for child in psutil.Process().children():
            if child.pid not in there and "spawn_main" in " ".join(child.cmdline()):
                child.kill()
                return
        time.sleep(0.001)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_error_of_the_parents_ends_every_process(error: type[BaseException]) -> None:
    pids = []
    with pytest.raises(error), Pool(2, work) as pool:
        for _, message in pool.told(deque(["sleeps", "sleeps"])):
            pids.append(message)
            if len(pids) == 2:
                raise error
    for pid in pids:
        wait_for_the_end(pid)


def test_no_process_outlives_a_killed_parent(tmp_path: Path) -> None:
    folder = tmp_path / "pids"
    folder.mkdir()
    parent = multiprocessing.get_context("spawn").Process(target=_parent, args=(folder,))
    parent.start()
    for _ in range(600):
        if len(list(folder.iterdir())) == 2:
            break
        time.sleep(0.1)
    parent.kill()
    parent.join()
    pids = [int(file.name) for file in folder.iterdir()]
    assert len(pids) == 2
    for pid in pids:
        wait_for_the_end(pid)


def _parent(folder: Path) -> None:
    with Pool(2, work) as pool:
        for _, pid in pool.told(deque(["sleeps", "sleeps"])):
            (folder / str(pid)).touch()
