import gc
import subprocess
import sys

import pytest
import torch

from transferlab import jobs, train

# a process of its own: one that holds gigabytes, like that of all tests, may take 400 MiB from what it freed before
TWO_RUNS = """
import torch
from transferlab.environment import environment, peak_memory

environment("cpu")
before = peak_memory()
held = torch.ones(400 * 2**20 // 4)
during = peak_memory()
del held
environment("cpu")  # the next run of the same process
print(before, during, peak_memory())
"""
MEBIBYTE = 1 << 20


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux lets a process start its peak again")
@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU its own peak is reported")
def test_the_peak_of_memory_is_that_of_the_run_not_of_the_process():
    printed = subprocess.run([sys.executable, "-c", TWO_RUNS], check=True, capture_output=True, text=True).stdout
    before, during, after = map(int, printed.split())
    assert during - before > 350 * MEBIBYTE
    assert after < during - 300 * MEBIBYTE


@pytest.mark.parametrize("imported", [False, True])
def test_what_is_imported_for_runs_is_looked_at_for_garbage_once(imported, monkeypatch):
    if imported:  # by somebody else
        monkeypatch.setitem(sys.modules, "transferlab.train", train)
    else:
        monkeypatch.delitem(sys.modules, "transferlab.train")
    monkeypatch.setattr(jobs, "_loaded", False)
    meanwhile = []
    monkeypatch.setattr(jobs.importlib, "import_module", lambda name: meanwhile.append((name, gc.get_threshold()[2])))
    threshold, before = gc.get_threshold(), (700, 10, 10)
    gc.set_threshold(*before)
    try:
        jobs.load()
        assert gc.get_freeze_count()
        after = gc.get_threshold()
        gc.set_threshold(*before)
        jobs.load()
        assert gc.get_threshold() == before
    finally:
        gc.unfreeze()
        gc.set_threshold(*threshold)
    assert after[0] > before[0] and after[1:] == before[1:]  # `tidy` does the rest when a run is over
    ((name, old),) = meanwhile
    assert name == "transferlab.train" and old > 1000 * before[2]
