"""TransRate against its equation with F x F matrices."""

from dataclasses import replace

import numpy as np
import pytest
from candidates import drawn
from hypothesis import given, settings
from hypothesis import strategies as st

from transferlab.errors import InputError
from transferlab.transferability.transrate import coding_rate, transrate


def rate(z, epsilon):
    return np.log(np.linalg.det(np.eye(z.shape[1]) + z.T @ z / (len(z) * epsilon))) / 2


@settings(max_examples=25, deadline=None)
@given(
    samples=st.integers(4, 30),
    size=st.integers(1, 12),
    classes=st.integers(2, 4),
    epsilon=st.floats(0.01, 10),
    seed=st.integers(0, 999),
)
def test_it_is_its_equation_written_out(samples, size, classes, epsilon, seed):
    one = drawn(samples, size=size, classes=classes, seed=seed)
    z = one.features - one.features.mean(0)
    parts = [z[one.labels == label] for label in range(classes)]
    expected = rate(z, epsilon) - sum(len(part) / samples * rate(part, epsilon) for part in parts)
    assert transrate(one, distortion=epsilon) == pytest.approx(expected, rel=1e-7, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 20), size=st.integers(1, 20), seed=st.integers(0, 999))
def test_both_products_give_one_rate(n, size, seed):
    z = np.random.default_rng(seed).normal(size=(n, size))
    assert coding_rate(z, 0.1) == pytest.approx(coding_rate(np.pad(z, ((0, 0), (0, 30))), 0.1), rel=1e-9)


def test_of_classes_without_width_the_whole_rate_is_left():
    """Each class has rank 1 around the common mean, and is coded by its own size alone: +1 and -1, log(1 + 1/e) / 2."""
    one = replace(drawn(8, size=1, classes=2), features=np.repeat([[1.0], [-1.0]], 4, 0), labels=np.repeat([0, 1], 4))
    assert transrate(one, distortion=0.5) == pytest.approx(0, abs=1e-12)
    square = np.repeat([[1.0, 0], [-1, 0], [0, 1], [0, -1]], 2, 0)
    corners = replace(drawn(8, size=2), features=square, labels=np.repeat([0, 0, 1, 1], 2), source_features=None)
    expected = 2 * np.log(1 + 0.5 / 0.5) / 2 - np.log(1 + 1 / 0.5) / 2
    assert transrate(replace(corners, source_labels=None), distortion=0.5) == pytest.approx(expected)


def test_without_distortion_there_is_no_rate():
    with pytest.raises(InputError, match="distortion=0: a number above 0"):
        transrate(drawn(), distortion=0)
