"""A signal that is meant for a run reaches no process beside it, as Slurm sends it to all processes of a job."""

import multiprocessing
import os
import signal
import subprocess
import sys

import pytest
import torch

from transferlab.data.fetching import fetching
from transferlab.offspring import spared

pytestmark = pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="this system has no signals of a thread")


class Numbers(torch.utils.data.Dataset):
    def __getitem__(self, number: int) -> int:
        return number


def test_processes_that_load_samples_go_on() -> None:
    batches = iter(fetching(Numbers(), range(20), workers=2))
    first = next(batches)
    workers = multiprocessing.active_children()
    assert len(workers) == 2
    for worker in workers:
        os.kill(worker.pid, signal.SIGUSR2)
    assert [first, *batches] == list(range(20))


def test_a_process_started_within_is_spared_and_who_starts_it_is_not() -> None:
    told = []
    before = signal.signal(signal.SIGUSR2, lambda *_: told.append(True))
    try:
        ends = "import sys; print('here', flush=True); sys.stdin.read()"
        with spared():
            child = subprocess.Popen(
                [sys.executable, "-c", ends], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        assert child.stdout.readline() == "here\n"
        child.send_signal(signal.SIGUSR2)
        child.communicate()
        assert child.returncode == 0
        signal.raise_signal(signal.SIGUSR2)
        assert told
    finally:
        signal.signal(signal.SIGUSR2, before)
