"""The effective rank of features whose spectrum is known."""

import numpy as np
import pytest
import torch

from transferlab.diagnostics.rank import effective_rank


def with_spectrum(values: list[float]) -> torch.Tensor:
    """Centred features (12, 6) with these singular values."""
    rng = np.random.default_rng(0)
    left = rng.normal(size=(12, len(values)))
    left = np.linalg.qr(left - left.mean(0))[0]
    right = np.linalg.qr(rng.normal(size=(6, len(values))))[0]
    return torch.tensor(left @ np.diag(values) @ right.T)


def test_equal_singular_values_count_each() -> None:
    assert effective_rank(with_spectrum([2.0, 2.0, 2.0])) == pytest.approx(3)


def test_one_direction_is_rank_1() -> None:
    assert effective_rank(with_spectrum([5.0])) == pytest.approx(1)


def test_it_is_the_exponential_of_the_entropy_of_the_spectrum() -> None:
    shares = np.array([0.5, 0.25, 0.25])
    assert effective_rank(with_spectrum([4.0, 2.0, 2.0])) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))


def test_the_features_mean_is_no_direction() -> None:
    features = with_spectrum([2.0, 1.0])
    assert effective_rank(features + 100) == pytest.approx(effective_rank(features), rel=1e-6)


def test_features_that_do_not_vary_or_are_no_numbers_have_none() -> None:
    assert np.isnan(effective_rank(torch.ones(5, 3)))
    assert np.isnan(effective_rank(torch.full((5, 3), torch.inf)))
