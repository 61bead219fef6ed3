"""Shares of a batch: each sample is of one process, in order, and none is left with too few."""

import pytest
import torch

from transferlab.errors import InputError
from transferlab.shares import LEAST, Share
from transferlab.values import Seq


@pytest.mark.parametrize("processes", [2, 3, 8])
@pytest.mark.parametrize("samples", [16, 17, 31, 100])
def test_each_sample_is_of_one_process_and_they_are_in_order(samples: int, processes: int) -> None:
    x = torch.arange(samples)
    parts = [Share(process, processes, samples).of(x) for process in range(processes)]
    assert torch.equal(torch.cat(parts), x)
    lengths = [len(part) for part in parts]
    assert lengths == Share(0, processes, samples).lengths
    assert min(lengths) >= LEAST and max(lengths) - min(lengths) <= 1


def test_a_batch_too_small_to_be_divided_is_whole() -> None:
    assert [Share(0, 2, samples).is_whole for samples in (1, 3, 4, 5)] == [True, True, False, False]


def test_a_sequence_is_divided_with_its_mask() -> None:
    x = Seq(torch.arange(10).reshape(5, 2), torch.ones(5, 2, dtype=torch.bool))
    part = Share(1, 2, 5).of(x)
    assert isinstance(part, Seq)
    assert part.h.tolist() == [[6, 7], [8, 9]] and part.mask.shape == (2, 2)


def test_what_has_no_row_a_sample_is_not_put_together() -> None:
    with pytest.raises(InputError, match=r"a Tensor that is not put together .* set trainer\.devices=1"):
        Share(0, 2, 8).together(torch.zeros(3, 4))
    with pytest.raises(InputError, match="a list that is not"):
        Share(0, 2, 8).together([torch.zeros(4)])
