"""Distances of two sets against their equations written out."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from candidates import drawn
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from transferlab.errors import InputError
from transferlab.losses.domains.coral import coral
from transferlab.losses.domains.kernels import Gaussians, mean_discrepancy
from transferlab.transferability.distances import coral_distance, frechet_distance, mean_distance, mmd_distance
from transferlab.transferability.gaussians import Gaussian, squared_frechet

CASES = settings(max_examples=20, deadline=None)
SHAPES = {"n": st.integers(2, 15), "m": st.integers(2, 15), "size": st.integers(1, 6), "seed": st.integers(0, 999)}


def pair(n, m, size, seed):
    one = drawn(n, size=size, source=m, seed=seed)
    return one, one.source_features, one.features


@CASES
@given(**SHAPES)
def test_means(n, m, size, seed):
    one, source, target = pair(n, m, size, seed)
    means = [[sum(column) / len(column) for column in rows.T] for rows in (source, target)]
    assert mean_distance(one) == pytest.approx(sum((a - b) ** 2 for a, b in zip(*means, strict=True)) ** 0.5)


@CASES
@given(**SHAPES, kernels=st.integers(1, 4), width=st.floats(0.5, 20))
def test_mmd(n, m, size, seed, kernels, width):
    one, source, target = pair(n, m, size, seed)
    widths = [width * 2.0**i for i in range(-(kernels // 2), kernels - kernels // 2)]

    def mean(rows, others):
        return np.mean([[sum(np.exp(-((a - b) @ (a - b)) / w) for w in widths) for b in others] for a in rows])

    squared = mean(source, source) + mean(target, target) - 2 * mean(source, target)
    found = mmd_distance(one, kernels=kernels, factor=2.0, bandwidth=width)
    assert found**2 == pytest.approx(squared, rel=1e-6, abs=1e-12)
    assert found <= (2 * kernels) ** 0.5


@pytest.mark.parametrize("bandwidth", ["median", "mean", 3.0])
@pytest.mark.parametrize(("n", "m"), [(150, 90), (1, 200), (64, 64)])
def test_mmd_of_many_samples_is_that_of_the_loss(n, m, bandwidth):
    """Kernels are taken of strips of samples; some samples come twice."""
    one, source, target = pair(n, m, 3, seed=n)
    target[: n // 3] = target[-1]
    widths = Gaussians("", 5, 2.0, bandwidth)
    expected = mean_discrepancy([(torch.from_numpy(source), torch.from_numpy(target))], [widths], "quadratic")
    assert mmd_distance(one, kernels=5, factor=2.0, bandwidth=bandwidth) == pytest.approx(float(expected) ** 0.5)


@CASES
@given(**SHAPES)
def test_coral(n, m, size, seed):
    one, source, target = pair(n, m, size, seed)
    apart = np.cov(source.T).reshape(size, size) - np.cov(target.T).reshape(size, size)
    assert coral_distance(one) == pytest.approx((apart**2).sum() / (4 * size**2))
    assert coral_distance(one) == float(coral(torch.from_numpy(source), torch.from_numpy(target)))


@CASES
@given(n=st.integers(12, 30), m=st.integers(12, 30), size=st.integers(1, 6), seed=st.integers(0, 999))
def test_frechet(n, m, size, seed):
    one, source, target = pair(n, m, size, seed)
    c, d = (np.cov(rows.T).reshape(size, size) for rows in (source, target))
    apart = source.mean(0) - target.mean(0)
    expected = apart @ apart + np.trace(c + d - 2 * sqrtm(c @ d).real)
    assert frechet_distance(one) == pytest.approx(expected, rel=1e-7, abs=1e-9)


def test_frechet_of_one_feature_is_known_in_closed_form():
    one = replace(drawn(3, size=1, source=2), features=[[-2.0], [0.0], [2.0]], source_features=[[1.0], [5.0]])
    assert frechet_distance(one) == pytest.approx(3**2 + (8**0.5 - 2) ** 2)


def test_frechet_with_fewer_samples_than_features_is_that_of_the_space_they_span():
    one = drawn(6, size=50, source=7)
    basis = np.linalg.qr(np.concatenate([one.features, one.source_features]).T)[0]
    spanned = replace(one, features=one.features @ basis, source_features=one.source_features @ basis)
    assert frechet_distance(one) == pytest.approx(frechet_distance(spanned))


def test_a_gaussian_of_one_sample_is_a_point():
    point, other = Gaussian.of(np.array([[1.0, 2.0]])), Gaussian.of(np.array([[4.0, 6.0]]))
    assert squared_frechet(point, other) == pytest.approx(25)


@pytest.mark.parametrize("distance", [coral_distance, frechet_distance])
def test_one_sample_of_a_side_has_no_covariance(distance):
    one = drawn(source=1, classes=1)
    with pytest.raises(
        InputError, match="takes 2 samples of each side, and there are 1 of the source and 24 of the target"
    ):
        distance(one)


def test_no_samples_of_the_source_are_a_sentence():
    with pytest.raises(
        InputError, match=r"score mean_distance reads samples of the source.* choose a source with data"
    ):
        mean_distance(replace(drawn(), source_features=None, source_labels=None))
