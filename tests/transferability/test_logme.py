"""LogME against the evidence of a Gaussian, maximised by SciPy over both priors, and against its fixed point."""

from dataclasses import replace

import numpy as np
import pytest
from candidates import drawn
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import maximum_filter
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from transferlab.errors import InputError
from transferlab.transferability.candidate import Candidate
from transferlab.transferability.logme import logme, maximum_evidence, projected

CASES = settings(max_examples=8, deadline=None)


def evidence(features, y, alpha, beta):
    """The definition: the density of the labels under N(0, F F^T / alpha + I / beta), a sample."""
    spread = features @ features.T / alpha + np.eye(len(y)) / beta
    square, size = y @ np.linalg.solve(spread, y), np.linalg.slogdet(2 * np.pi * spread)[1]
    return -(square + size) / (2 * len(y))


def maximum(features, y):
    """Over all priors: from the highest places of a grid that are above those around, as there are several maxima."""

    def minus(logs):
        return -evidence(features, y, *np.exp(np.clip(logs, -20, 20)))

    alphas, betas = np.arange(-6, 18), np.arange(-3, 8)
    grid = np.array([[-minus((alpha, beta)) for beta in betas] for alpha in alphas])
    peaks = np.argwhere(grid == maximum_filter(grid, 3, mode="nearest"))
    peaks = sorted(peaks.tolist(), key=lambda peak: -grid[tuple(peak)])[:5]
    fine = {"xatol": 1e-6, "fatol": 1e-11}
    return max(-minimize(minus, (alphas[i], betas[j]), method="Nelder-Mead", options=fine).fun for i, j in peaks)


def test_the_evidence_is_scipys_density_of_a_gaussian():
    rng = np.random.default_rng(0)
    features, y = rng.normal(size=(7, 3)), rng.normal(size=7)
    density = multivariate_normal(np.zeros(7), features @ features.T / 0.3 + np.eye(7) / 2.0).logpdf(y)
    assert evidence(features, y, 0.3, 2.0) == pytest.approx(density / 7)


@CASES
@given(samples=st.integers(6, 12), size=st.integers(1, 5), seed=st.integers(0, 999))
def test_of_classes_it_is_the_mean_of_the_largest_evidences(samples, size, seed):
    one = drawn(samples, size=size, seed=seed)
    expected = np.mean([maximum(one.features, (one.labels == label).astype(float)) for label in range(3)])
    assert logme(one) == pytest.approx(expected, abs=1e-6)


@CASES
@given(samples=st.integers(6, 12), size=st.integers(1, 5), targets=st.integers(1, 3), seed=st.integers(0, 999))
def test_of_numbers_it_is_the_mean_of_the_largest_evidences(samples, size, targets, seed):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(samples, size))
    y = features @ rng.normal(size=(size, targets)) + rng.normal(size=(samples, targets)) + 1
    expected = np.mean([maximum(features, column) for column in y.T])
    assert logme(Candidate(features, y)) == pytest.approx(expected, abs=1e-6)


def on_a_dense_grid(features, y):
    """The best over 4,000 ratios of the priors, each with its best beta: no search that could stop at a lower peak."""
    n, values = len(y), np.linalg.eigvalsh(features @ features.T)
    ratios = np.exp(np.linspace(np.log(values[values > 1e-9].min()) - 12, np.log(values.max()) + 12, 4001))
    u, s, _ = np.linalg.svd(features, full_matrices=True)
    s = np.pad(s, (0, n - len(s)))[:, None] ** 2
    squares = ((u.T @ y) ** 2) @ (ratios / (ratios + s))
    found = -0.5 * np.log(2 * np.pi * squares / n) - 0.5 - np.log1p(s / ratios).sum(0) / (2 * n)
    return found.max()


def test_of_several_peaks_the_highest_is_found():
    """A narrow one beside the plateau where the features say nothing, among others."""
    one = drawn(8, size=4, seed=249)
    y = (one.labels == 1).astype(float)
    found = maximum_evidence(*projected(one.features, y[:, None]), 8)[0]
    assert found == pytest.approx(on_a_dense_grid(one.features, y), abs=1e-5)
    rng = np.random.default_rng(0)
    for _ in range(150):
        n, size = int(rng.integers(6, 60)), int(rng.integers(1, 6))
        features = rng.normal(size=(n, size)) * np.exp(rng.normal(size=size))
        y = features @ rng.normal(size=size) * rng.choice([0, 0.1, 1]) + rng.normal(size=n)
        found = maximum_evidence(*projected(features, y[:, None]), n)[0]
        assert found >= on_a_dense_grid(features, y) - 1e-9


@pytest.mark.parametrize("shape", [(20, 20), (12, 30), (8, 200)])
@pytest.mark.parametrize("noise", [0.0, 1.0, 30.0])
def test_with_fewer_samples_than_features_it_is_the_best_over_all_ratios(shape, noise):
    rng = np.random.default_rng(0)
    features = rng.normal(size=shape)
    y = features[:, 0] + noise * rng.normal(size=shape[0])
    assert logme(Candidate(features, y)) == pytest.approx(on_a_dense_grid(features, y), abs=1e-5)


def test_at_its_best_priors_the_authors_iteration_stands_still():
    """Their fixed point: alpha = gamma / |m|^2 and beta = (N - gamma) / |F m - y|^2 leave both as they are."""
    rng = np.random.default_rng(2)
    features = rng.normal(size=(200, 6)) * [1, 2, 3, 1, 0.2, 1]
    y = features @ rng.normal(size=6) + rng.normal(size=200)
    alpha, beta = 1.0, 1.0
    for _ in range(500):
        inverse = np.linalg.inv(alpha * np.eye(6) + beta * features.T @ features)
        m = beta * inverse @ features.T @ y
        gamma = 6 - alpha * np.trace(inverse)
        alpha, beta = gamma / (m @ m), (200 - gamma) / ((features @ m - y) ** 2).sum()
    assert logme(Candidate(features, y)) == pytest.approx(evidence(features, y, alpha, beta), abs=1e-12)


def test_labels_that_have_nothing_to_do_with_the_features_are_as_probable_as_without():
    y = np.tile([1.0, -1.0], 6)
    features = np.repeat([1.0, -1.0, 2.0], 4)[:, None]
    assert logme(Candidate(features, y)) == pytest.approx(-0.5 * (np.log(2 * np.pi) + 1))
    assert logme(Candidate(np.zeros((12, 3)), y)) == pytest.approx(-0.5 * (np.log(2 * np.pi) + 1))


def test_numbers_in_another_unit_shift_it_by_a_logarithm():
    one = replace(drawn(), labels=np.random.default_rng(0).normal(size=24))
    assert logme(replace(one, labels=1000 * one.labels)) == pytest.approx(logme(one) - np.log(1000))


def test_a_feature_that_comes_twice_says_nothing_new_but_widens_the_prior():
    one = drawn(40)
    twice = replace(one, features=np.hstack([one.features, one.features]), source_features=None, source_labels=None)
    assert logme(twice) == pytest.approx(logme(one))


def test_labels_that_are_a_feature_are_a_finite_number_above_all_others():
    one = drawn(30)
    exact = replace(one, features=np.eye(3)[one.labels], source_features=None, source_labels=None)
    assert np.isfinite(logme(exact)) and logme(exact) > logme(one) + 5


def test_targets_that_are_0_throughout_are_a_sentence():
    with pytest.raises(InputError, match="0 for every sample: leave it out"):
        logme(Candidate(np.ones((4, 2)), np.array([[1.0, 0.0]] * 4)))
