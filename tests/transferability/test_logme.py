"""LogME against the evidence of a Gaussian over all priors, and against the authors' fixed point."""

from dataclasses import replace

import numpy as np
import pytest
from candidates import drawn
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from transferlab.errors import InputError
from transferlab.transferability.candidate import Candidate
from transferlab.transferability.logme import along_eigenvectors, logme, maximum_evidence, projected

CASES = settings(max_examples=10, deadline=None)


def evidence(features, y, alpha, beta):
    """The definition: the density of the labels under N(0, F F^T / alpha + I / beta), a sample."""
    spread = features @ features.T / alpha + np.eye(len(y)) / beta
    square, size = y @ np.linalg.solve(spread, y), np.linalg.slogdet(2 * np.pi * spread)[1]
    return -(square + size) / (2 * len(y))


def best_priors(features, y):
    """Alpha and beta of the highest evidence over 4,000 of their ratios: no search that could stop at a lower peak."""
    n, values = len(y), np.linalg.eigvalsh(features @ features.T)
    ratios = np.exp(np.linspace(np.log(values[values > 1e-9].min()) - 12, np.log(values.max()) + 12, 4001))
    u, s, _ = np.linalg.svd(features, full_matrices=True)
    s = np.pad(s, (0, n - len(s)))[:, None] ** 2
    squares = ((u.T @ y) ** 2) @ (ratios / (ratios + s))
    best = (-n * np.log(squares) - np.log1p(s / ratios).sum(0)).argmax()
    return ratios[best] * n / squares[best], n / squares[best]


def assert_largest(found, features, y):
    """The definition gives it at some priors, and no more at any."""
    assert found == pytest.approx(evidence(features, y, *best_priors(features, y)), abs=1e-5)
    elsewhere = (evidence(features, y, a, b) for a in np.logspace(-3, 6, 10) for b in np.logspace(-1, 3, 9))
    assert found >= max(elsewhere) - 1e-9


def test_the_evidence_is_scipys_density_of_a_gaussian():
    rng = np.random.default_rng(0)
    features, y = rng.normal(size=(7, 3)), rng.normal(size=7)
    density = multivariate_normal(np.zeros(7), features @ features.T / 0.3 + np.eye(7) / 2.0).logpdf(y)
    assert evidence(features, y, 0.3, 2.0) == pytest.approx(density / 7)


@CASES
@given(samples=st.integers(6, 30), size=st.integers(1, 5), seed=st.integers(0, 999))
def test_of_each_class_it_is_the_largest_evidence(samples, size, seed):
    one = drawn(samples, size=size, seed=seed)
    targets = np.eye(3)[one.labels]
    found = maximum_evidence(*projected(one.features, targets), samples)
    for number, y in enumerate(targets.T):
        assert_largest(found[number], one.features, y)
    assert logme(one) == pytest.approx(found.mean())


@CASES
@given(
    samples=st.integers(6, 30), size=st.integers(1, 5), noise=st.sampled_from([0.1, 1, 10]), seed=st.integers(0, 999)
)
def test_of_numbers_it_is_the_mean_of_the_largest_evidences(samples, size, noise, seed):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(samples, size)) * np.exp(rng.normal(size=size))
    y = features @ rng.normal(size=(size, 2)) + noise * rng.normal(size=(samples, 2))
    for column in y.T:
        assert_largest(logme(Candidate(features, column)), features, column)
    apart = [logme(Candidate(features, column)) for column in y.T]
    assert logme(Candidate(features, y)) == pytest.approx(np.mean(apart))


@pytest.mark.parametrize("shape", [(20, 20), (12, 30), (8, 200)])
@pytest.mark.parametrize("noise", [0.0, 1.0, 30.0])
def test_with_fewer_samples_than_features_it_is_the_largest_evidence(shape, noise):
    rng = np.random.default_rng(0)
    features = rng.normal(size=shape)
    y = features[:, 0] + noise * rng.normal(size=shape[0])
    assert_largest(logme(Candidate(features, y)), features, y)


@pytest.mark.parametrize("condition", [1e1, 1e3, 1e5, 1e6])
@pytest.mark.parametrize("noise", [1.0, 1e-2])
@pytest.mark.parametrize("shape", [(400, 40), (60, 100)])
def test_the_square_of_the_condition_costs_no_more_digits_than_it_has(condition, noise, shape):
    """Beside an SVD of the features themselves: off by `eps condition^2 |y|^2 / |what noise adds|^2` at most."""
    samples, rank = shape[0], min(shape)
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.normal(size=(size, rank)))[0] for size in shape)
    features = (left * np.geomspace(10, 10 / condition, rank)) @ right.T
    added = noise * rng.normal(size=samples)
    y = left @ rng.normal(size=rank) + added
    axes, lengths, _ = np.linalg.svd(features, full_matrices=False)
    parts = (axes.T @ y[:, None]) ** 2
    expected = maximum_evidence(lengths**2, parts, y @ y - parts.sum(0) if samples > rank else np.zeros(1), samples)
    bound = np.finfo(float).eps * condition**2 * (y @ y) / (added @ added)
    assert logme(Candidate(features, y)) == pytest.approx(expected[0], rel=0, abs=bound + 1e-13)


@pytest.mark.parametrize(("size", "rank"), [(1, 1), (2, 2), (3, 1), (40, 40), (40, 7)])
def test_columns_along_eigenvectors_keep_what_the_matrix_makes_of_them(size, rank):
    rng = np.random.default_rng(size)
    root, columns = rng.normal(size=(size, rank)), rng.normal(size=(size, 5))
    values, found = along_eigenvectors(root @ root.T, columns)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(root @ root.T), atol=1e-12 * size)
    np.testing.assert_allclose(found.T @ found, columns.T @ columns, rtol=1e-10)
    np.testing.assert_allclose((found.T * values) @ found, columns.T @ root @ root.T @ columns, rtol=1e-9, atol=1e-9)


def test_of_several_peaks_the_highest_is_found():
    """A narrow one beside the plateau where the features say nothing: log alpha / beta of 0.3 and without end."""
    one = drawn(8, size=4, seed=249)
    y = (one.labels == 1).astype(float)
    nothing = -0.5 * (np.log(2 * np.pi * (y @ y) / 8) + 1)
    found = maximum_evidence(*projected(one.features, y[:, None]), 8)[0]
    assert_largest(found, one.features, y)
    assert found > nothing + 1e-4


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
