"""LEEP and NCE against their equations in loops, and what they say where the answer is known."""

from collections import Counter
from dataclasses import replace
from math import log

import numpy as np
import pytest
from candidates import drawn
from hypothesis import given, settings
from hypothesis import strategies as st

from transferlab.errors import InputError
from transferlab.transferability.candidate import Candidate
from transferlab.transferability.leep import leep, nce

CASES = settings(max_examples=25, deadline=None)
SHAPES = {"samples": st.integers(4, 30), "classes": st.integers(2, 4), "seed": st.integers(0, 999)}


def leep_by_definition(theta, y):
    n, sources = len(y), len(theta[0])
    joint = {(a, z): sum(theta[i][z] for i in range(n) if y[i] == a) / n for a in set(y) for z in range(sources)}
    marginal = [sum(joint[a, z] for a in set(y)) for z in range(sources)]
    total = 0.0
    for i in range(n):
        total += log(sum(joint[y[i], z] / marginal[z] * theta[i][z] for z in range(sources)))
    return total / n


def nce_by_definition(z, y):
    n, pairs, sources = len(y), Counter(zip(y, z, strict=True)), Counter(z)
    return sum(count / n * log(count / n / (sources[b] / n)) for (_, b), count in pairs.items())


@CASES
@given(**SHAPES)
def test_leep_is_the_papers_equation(samples, classes, seed):
    one = drawn(samples, classes=classes, seed=seed)
    expected = leep_by_definition(one.probabilities.tolist(), one.labels.tolist())
    assert leep(one) == pytest.approx(expected, rel=1e-10)


@CASES
@given(**SHAPES)
def test_nce_is_the_papers_equation(samples, classes, seed):
    one = drawn(samples, classes=classes, seed=seed)
    expected = nce_by_definition(one.probabilities.argmax(1).tolist(), one.labels.tolist())
    assert nce(one) == pytest.approx(expected, rel=1e-10, abs=1e-12)


def sure(z, sources):
    return np.eye(sources)[z]


def test_where_the_source_is_certain_both_are_the_same():
    y, z = np.array([0, 0, 1, 1, 2, 2, 2]), np.array([0, 1, 1, 1, 3, 3, 0])
    one = Candidate(np.ones((7, 1)), y, sure(z, 5))
    assert leep(one) == pytest.approx(nce(one)) == pytest.approx(nce_by_definition(z.tolist(), y.tolist()))


def test_source_classes_that_are_target_classes_by_other_names_score_0():
    y = np.arange(9) % 3
    one = Candidate(np.ones((9, 1)), y, sure((y + 1) % 3, 4))
    assert leep(one) == nce(one) == 0.0


def test_a_source_that_says_the_same_of_all_samples_leaves_the_labels_entropy():
    one = Candidate(np.ones((8, 1)), np.arange(8) % 2, np.full((8, 3), 1 / 3))
    assert leep(one) == pytest.approx(-log(2)) == pytest.approx(nce(one))


def test_a_source_class_that_is_never_said_does_not_matter():
    one = drawn()
    wider = replace(one, probabilities=np.pad(one.probabilities, ((0, 0), (1, 1))))
    assert leep(wider) == pytest.approx(leep(one), rel=1e-12)
    assert nce(wider) == pytest.approx(nce(one), rel=1e-12)


def test_no_classifier_is_a_sentence():
    with pytest.raises(
        InputError, match=r"score leep reads what the source's classifier says .* choose a score of features"
    ):
        leep(replace(drawn(), probabilities=None))
