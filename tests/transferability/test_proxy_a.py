"""The proxy A-distance: 0 for one distribution, 2 for two that a line parts."""

import numpy as np
import pytest
from candidates import drawn
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_logistic import Naive

from transferlab.errors import InputError
from transferlab.transferability import proxy_a
from transferlab.transferability.candidate import Candidate
from transferlab.transferability.proxy_a import proxy_a_distance


def two(shift, n=150, m=150, seed=0):
    rng = np.random.default_rng(seed)
    return Candidate(rng.normal(size=(n, 3)), source_features=rng.normal(size=(m, 3)) + shift)


@settings(max_examples=15, deadline=None)
@given(n=st.integers(4, 40), size=st.integers(1, 30), folds=st.integers(2, 4), seed=st.integers(0, 999))
def test_a_set_beside_itself_has_exactly_the_error_of_chance(n, size, folds, seed):
    x = np.random.default_rng(seed).normal(size=(n, size))
    assert proxy_a_distance(Candidate(x, source_features=x[::-1]), penalty=1.0, folds=folds) == 0


def test_two_samples_of_one_distribution_are_near_and_parted_ones_at_2():
    assert proxy_a_distance(two(0.0), penalty=1.0, folds=5) < 0.3
    assert proxy_a_distance(two(50.0), penalty=1.0, folds=5) == 2


def test_unequal_sides_count_alike():
    """By plain error, calling all samples the larger side's would already be 2 (1 - 2 / 11) = 1.6."""
    assert proxy_a_distance(two(0.0, n=400, m=40), penalty=1.0, folds=5) < 0.3


def test_of_gaussians_it_comes_to_that_of_the_best_classifier():
    """Means 1 apart and variance 1: the error is Phi(-1/2) = 0.3085, the distance 0.766."""
    rng = np.random.default_rng(1)
    one = Candidate(rng.normal(size=(4000, 1)), source_features=rng.normal(size=(4000, 1)) + 1)
    assert proxy_a_distance(one, penalty=1.0, folds=5) == pytest.approx(0.766, abs=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_it_is_that_of_a_classifier_whose_objective_is_written_out(seed, monkeypatch):
    one = two(1.5, n=30, m=24, seed=seed)
    found = proxy_a_distance(one, penalty=0.5, folds=3)
    monkeypatch.setattr(proxy_a, "logistic", Naive)
    assert found == pytest.approx(proxy_a_distance(one, penalty=0.5, folds=3)) and 0 < found < 2


def test_fewer_samples_than_folds_are_a_sentence():
    with pytest.raises(InputError, match="takes 30 samples of each side, and there are 20 of the source"):
        proxy_a_distance(drawn(), penalty=1.0, folds=30)


@pytest.mark.parametrize(("penalty", "folds"), [(0.0, 5), (1.0, 1)])
def test_settings_that_cannot_be_are_a_sentence(penalty, folds):
    with pytest.raises(InputError, match="is above 0, folds="):
        proxy_a_distance(drawn(), penalty=penalty, folds=folds)
