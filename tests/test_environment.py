import subprocess
import sys

import pytest
import torch

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
