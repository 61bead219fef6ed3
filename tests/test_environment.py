import sys

import pytest
import torch

from transferlab.environment import environment, peak_memory

MEBIBYTE = 1 << 20


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux lets a process start its peak again")
@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU its own peak is reported")
def test_the_peak_of_memory_is_that_of_the_run_not_of_the_process():
    environment("cpu")
    before = peak_memory()
    held = torch.ones(400 * MEBIBYTE // 4)
    during = peak_memory()
    del held
    environment("cpu")  # the next run of the same process
    after = peak_memory()
    assert during - before > 350 * MEBIBYTE
    assert after < during - 300 * MEBIBYTE
