"""What processes and those that they start owe one another: an end together, and words that can travel. No torch."""

import os
import pickle
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import parent_process


@contextmanager
def spared() -> Iterator[None]:
    """Within, who is started takes no signal by which a cluster tells this process that its time is over.

    Slurm sends it to all processes of a job: it would kill them, and a fork would do what is this process's to do.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGUSR2})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def follow_parent() -> None:
    """Leave Ctrl-C to the parent, and end when it does; called by a process that was just started."""
    if hasattr(os, "setpgrp"):
        os.setpgrp()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def how(exitcode: int) -> str:
    """How a process ended, in a few words."""
    if exitcode >= 0:
        return f"its process ended with status {exitcode}"
    name = signal.Signals(-exitcode).name
    return f"its process was ended by {name}" + (" (was memory short?)" if name == "SIGKILL" else "")


def portable(error: Exception) -> Exception:
    """An error that can travel, the same if it can."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
