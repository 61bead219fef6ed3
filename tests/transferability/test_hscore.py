"""H-scores against their equations in loops, and what they do not depend on."""

from dataclasses import replace

import numpy as np
import pytest
from candidates import drawn
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import LedoitWolf

from transferlab.transferability.hscore import h_score, shrunk_h_score

CASES = settings(max_examples=20, deadline=None)
SHAPES = {"samples": st.integers(8, 30), "size": st.integers(1, 6), "seed": st.integers(0, 999)}


def means_of_classes(one):
    """Each sample's class mean in the sample's place."""
    return np.array([one.features[one.labels == label].mean(0) for label in one.labels])


def covariance(rows):
    aside = rows - rows.mean(0)
    return sum(np.outer(row, row) for row in aside) / len(rows)


@CASES
@given(**SHAPES)
def test_it_is_the_papers_equation(samples, size, seed):
    one = drawn(samples, size=size, seed=seed)
    expected = np.trace(np.linalg.inv(covariance(one.features)) @ covariance(means_of_classes(one)))
    assert h_score(one) == pytest.approx(expected, rel=1e-7)


@CASES
@given(**SHAPES)
def test_the_shrunk_one_is_its_papers_equation(samples, size, seed):
    one = drawn(samples, size=size, seed=seed)
    share = LedoitWolf().fit(one.features).shrinkage_
    spread = covariance(one.features)
    spread = (1 - share) * spread + share * np.trace(spread) / size * np.eye(size)
    expected = np.trace(np.linalg.inv(spread) @ ((1 - share) * covariance(means_of_classes(one))))
    assert shrunk_h_score(one) == pytest.approx(expected, rel=1e-7, abs=1e-12)


@CASES
@given(**SHAPES)
def test_no_invertible_map_of_the_features_matters_unless_it_is_shrunk(samples, size, seed):
    one = drawn(samples, size=size, seed=seed)
    rng = np.random.default_rng(seed)
    stretch = np.linalg.qr(rng.normal(size=(size, size)))[0] * rng.uniform(0.2, 5, size)
    mapped = replace(one, features=one.features @ stretch, source_features=None, source_labels=None)
    assert h_score(mapped) == pytest.approx(h_score(one), rel=1e-6)


def test_with_fewer_samples_than_features_only_the_shrunk_one_sees_noise_for_what_it_is():
    """The pseudo-inverse finds C - 1 whatever the features are."""
    noise, classes = (drawn(30, size=300, apart=apart) for apart in (0.0, 1.0))
    assert h_score(noise) == pytest.approx(2) == pytest.approx(h_score(classes))
    assert shrunk_h_score(noise) < 1 < 1.9 < shrunk_h_score(classes)


def test_classes_without_width_reach_the_bound():
    one = drawn(30)
    assert h_score(replace(one, features=means_of_classes(one))) == pytest.approx(2)
