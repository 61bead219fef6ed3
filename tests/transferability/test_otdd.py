"""OTDD against a linear program over its definition."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from candidates import drawn
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from scipy.optimize import linprog

from transferlab.errors import InputError
from transferlab.transferability.candidate import Candidate
from transferlab.transferability.otdd import label_costs, otdd_distance

pytest.importorskip("ot", reason="POT is not installed: pip install 'transferlab[adaptation]'")


def bures(rows, others):
    """Squared 2-Wasserstein distance of two Gaussians, by roots of matrices."""
    c, d = (np.cov(x.T).reshape(x.shape[1], -1) if len(x) > 1 else np.zeros((x.shape[1],) * 2) for x in (rows, others))
    root = sqrtm(c).real
    apart = rows.mean(0) - others.mean(0)
    return apart @ apart + np.trace(c + d - 2 * sqrtm(root @ d @ root).real)


def by_definition(one):
    m, n = len(one.source_features), len(one.features)
    cost = np.zeros((m, n))
    for i in range(m):
        for j in range(n):
            ours = one.source_features[one.source_labels == one.source_labels[i]]
            theirs = one.features[one.labels == one.labels[j]]
            apart = one.source_features[i] - one.features[j]
            cost[i, j] = apart @ apart + bures(ours, theirs)
    rows = np.kron(np.eye(m), np.ones(n))
    columns = np.kron(np.ones(m), np.eye(n))
    shares = np.concatenate([np.full(m, 1 / m), np.full(n, 1 / n)])
    return linprog(cost.ravel(), A_eq=np.concatenate([rows, columns]), b_eq=shares).fun ** 0.5


@settings(max_examples=10, deadline=None)
@given(samples=st.integers(9, 14), source=st.integers(9, 14), size=st.integers(1, 2), seed=st.integers(0, 999))
def test_it_is_the_cheapest_plan(samples, source, size, seed):
    one = drawn(samples, size=size, source=source, classes=2, seed=seed)
    assert otdd_distance(one) == pytest.approx(by_definition(one), rel=1e-5)


def test_labels_cost_though_samples_lie_in_the_same_places():
    x = np.array([[0.0], [1.0], [10.0], [11.0]])
    same = Candidate(x, [0, 0, 1, 1], source_features=x, source_labels=[1, 1, 0, 0])
    mixed = replace(same, source_labels=[0, 1, 0, 1])
    assert otdd_distance(same) == pytest.approx(0, abs=1e-6)
    assert otdd_distance(mixed) > 1


def test_class_sets_may_differ():
    one = drawn(12, size=3, source=15)
    assert otdd_distance(replace(one, source_labels=np.arange(15) % 5)) > 0
    assert label_costs(one.source_features, one.source_labels, one.features, one.labels).shape == (3, 3)


def test_without_labels_of_the_source_it_is_a_sentence():
    with pytest.raises(InputError, match="reads labels of the source, and there are none"):
        otdd_distance(replace(drawn(), source_labels=None))


def test_without_pot_it_is_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "ot", None)
    with pytest.raises(InputError, match=r"solves by POT: pip install 'transferlab\[adaptation\]'"):
        otdd_distance(drawn())
