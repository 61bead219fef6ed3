"""GBC against its equation with full matrices, and the overlap of known Gaussians."""

from dataclasses import replace
from math import exp, log, sqrt

import numpy as np
import pytest
from candidates import drawn
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from transferlab.errors import InputError
from transferlab.transferability.candidate import Candidate
from transferlab.transferability.gbc import gbc


def by_definition(one, covariance, floor):
    found = {}
    for label in set(one.labels.tolist()):
        rows = one.features[one.labels == label]
        variance = ((rows - rows.mean(0)) ** 2).mean(0)
        variance = np.full_like(variance, variance.mean()) if covariance == "spherical" else variance
        found[label] = rows.mean(0), np.diag(np.maximum(variance, floor))
    total = 0.0
    for i, (m, s) in found.items():
        for j, (n, t) in found.items():
            if i != j:
                middle = (s + t) / 2
                apart = (m - n) @ np.linalg.inv(middle) @ (m - n) / 8
                dets = (np.linalg.det(matrix) for matrix in (s, t))
                total -= exp(-apart - log(np.linalg.det(middle) / sqrt(np.prod(list(dets)))) / 2)
    return total


@pytest.mark.parametrize("covariance", ["spherical", "diagonal"])
@settings(max_examples=20, deadline=None)
@given(samples=st.integers(5, 30), size=st.integers(1, 6), classes=st.integers(2, 5), seed=st.integers(0, 999))
def test_it_is_the_papers_equation(covariance, samples, size, classes, seed):
    one = drawn(samples, size=size, classes=classes, seed=seed)
    assert gbc(one, covariance=covariance, floor=1e-3) == pytest.approx(by_definition(one, covariance, 1e-3), rel=1e-7)


def test_of_one_feature_it_is_the_overlap_of_two_densities():
    one = drawn(50, size=1, classes=2, seed=2)
    first, second = (norm(rows.mean(), rows.std()) for rows in (one.features[one.labels == k, 0] for k in (0, 1)))
    overlap = quad(lambda x: sqrt(first.pdf(x) * second.pdf(x)), -20, 20)[0]
    assert gbc(one, covariance="diagonal", floor=1e-9) == pytest.approx(-2 * overlap)


def test_classes_that_are_one_reach_the_bound():
    rows = np.random.default_rng(0).normal(size=(5, 3))
    one = Candidate(np.concatenate([rows] * 4), np.repeat(np.arange(4), 5))
    assert gbc(one, covariance="spherical", floor=1e-4) == pytest.approx(-12)


def test_single_samples_have_the_floor_for_a_variance():
    one = Candidate(np.array([[0.0], [1.0]]), np.array([0, 1]))
    assert gbc(one, covariance="spherical", floor=0.25) == pytest.approx(-2 * exp(-0.5))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"covariance": "sperical", "floor": 1.0}, "did you mean 'spherical'"),
        ({"covariance": "diagonal", "floor": 0.0}, "floor=0.0: a variance above 0"),
    ],
)
def test_settings_that_cannot_be_are_a_sentence(settings, message):
    with pytest.raises(InputError, match=message):
        gbc(replace(drawn()), **settings)
