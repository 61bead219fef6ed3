"""The cosine between gradients, and over which parameters it is taken."""

import math

import pytest
import torch

from transferlab.diagnostics.conflict import gradient_cosine


def test_it_is_torchs_cosine_over_all_parameters_as_one_vector() -> None:
    draws = torch.Generator().manual_seed(0)
    first, second = ([torch.randn(shape, generator=draws) for shape in ((3, 2), (4,))] for _ in range(2))
    flat = [torch.cat([g.flatten() for g in gradients]) for gradients in (first, second)]
    assert gradient_cosine(first, second) == pytest.approx(float(torch.cosine_similarity(*flat, dim=0)), rel=1e-6)


def test_only_parameters_that_both_reach_count() -> None:
    ahead, across = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    assert gradient_cosine([ahead, None, across], [-ahead, across, None]) == -1


def test_a_gradient_of_zero_has_no_direction() -> None:
    assert math.isnan(gradient_cosine([torch.ones(2)], [torch.zeros(2)]))
    assert math.isnan(gradient_cosine([torch.ones(2), None], [None, torch.ones(2)]))
