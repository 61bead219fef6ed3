import random

import numpy as np
import pytest
import torch

from transferlab.seeding import derive


def test_the_same_purpose_gives_the_same_seed_whatever_was_drawn_before():
    before = derive(3, "epoch", 7)
    random.random(), np.random.rand(), torch.rand(1), derive(3, "other")
    assert derive(3, "epoch", 7) == before


def test_every_run_seed_purpose_and_number_gives_a_seed_of_its_own():
    cases = [(seed, purpose, epoch) for seed in range(20) for purpose in ("order", "stream") for epoch in range(50)]
    # 2,000 draws of 32 bits: a collision has a probability of 2000^2 / 2^33 = 0.05 %
    assert len({derive(*case) for case in cases}) == len(cases)


def test_numbers_do_not_run_into_each_other():
    assert len({derive(1, 23), derive(12, 3), derive(123), derive(1, 2, 3)}) == 4


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**40, -1])
def test_a_derived_seed_is_accepted_by_numpy_python_and_torch(seed):
    derived = derive(seed, "any")
    assert 0 <= derived < 2**32
    np.random.RandomState(derived)
    random.Random(derived)
    torch.Generator().manual_seed(derived)


def test_the_bits_of_derived_seeds_are_balanced():
    seeds = np.array([derive(0, "epoch", epoch) for epoch in range(2000)], dtype=np.uint64)
    ones = ((seeds[:, None] >> np.arange(32, dtype=np.uint64)) & np.uint64(1)).mean(0)
    # A share of 2,000 fair coins has a standard deviation of 0.0112; five of them on either side.
    assert np.abs(ones - 0.5).max() < 5 * 0.5 / 2000**0.5
