"""Several processors for one comparison: copies of this process that share what it has loaded."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from multiprocessing.context import ForkContext

from transferlab.cores import usable_cores


def forking() -> ForkContext | None:
    """Copies by fork, which start at once and know all that is known here; None where it is not safe.

    A process with threads of its own, as W&B starts some, may be copied while one of them holds a lock. macOS has fork,
    and libraries that fail after it.
    """
    alone = threading.active_count() == 1
    linux = os.uname().sysname == "Linux" if hasattr(os, "uname") else False
    return multiprocessing.get_context("fork") if alone and linux else None


def together(tasks: Sequence[Callable[[], None]]) -> None:
    """Do tasks that write files and do not need each other: the first here, each other in a copy of this process.

    Raises:
        Exception: what a task raised; one that failed in a copy is done again here, to fail where it is seen.
    """
    context = forking() if usable_cores() > 1 else None
    here, *others = tasks
    copies = [(task, context.Process(target=_quietly, args=(task,)) if context else None) for task in others]
    for _, copy in copies:
        if copy is not None:
            copy.start()
    here()
    for task, copy in copies:
        if copy is not None:
            copy.join()
        if copy is None or copy.exitcode:
            task()


def _quietly(task: Callable[[], None]) -> None:
    try:
        task()
    except BaseException:
        os._exit(1)
