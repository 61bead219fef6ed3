"""Nearest neighbours in loops, and a linear probe on sets whose answer is known."""

from dataclasses import replace

import numpy as np
import pytest
from candidates import drawn
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_logistic import Naive

from transferlab.errors import InputError
from transferlab.transferability import baselines
from transferlab.transferability.baselines import neighbours_accuracy, probe_accuracy
from transferlab.transferability.candidate import Candidate


def by_definition(one, k):
    right = 0.0
    for i, row in enumerate(one.features):
        far = sorted((np.linalg.norm(row - other), j) for j, other in enumerate(one.features) if j != i)
        voters = [int(one.labels[j]) for _, j in far[:k]]
        most = max(voters.count(label) for label in voters)
        ahead = {label for label in voters if voters.count(label) == most}
        right += (int(one.labels[i]) in ahead) / len(ahead)
    return right / len(one.features)


@settings(max_examples=25, deadline=None)
@given(samples=st.integers(6, 30), k=st.integers(1, 5), size=st.integers(1, 20), seed=st.integers(0, 999))
def test_neighbours_vote(samples, k, size, seed):
    one = drawn(samples, size=size, seed=seed)
    assert neighbours_accuracy(one, neighbours=k) == pytest.approx(by_definition(one, k))


def test_a_line_has_no_errors_and_a_ring_has_many_for_a_linear_probe_alone():
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, 200)
    y = np.arange(200) % 2
    ring = Candidate(np.stack([np.cos(angle), np.sin(angle)], 1) * (1 + 2 * y[:, None]), y)
    line = replace(ring, features=(ring.features + 10 * y[:, None]))
    assert probe_accuracy(line, penalty=1.0, folds=5) == 1
    assert probe_accuracy(ring, penalty=1.0, folds=5) < 0.65 < 0.95 < neighbours_accuracy(ring, neighbours=5)


def test_noise_has_the_accuracy_of_chance():
    noise = drawn(300, size=5, apart=0.0)
    assert abs(probe_accuracy(noise, penalty=1.0, folds=5) - 1 / 3) < 0.1
    assert abs(neighbours_accuracy(noise, neighbours=5) - 1 / 3) < 0.1


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_the_probe_is_right_as_often_as_one_whose_objective_is_written_out(classes, seed, monkeypatch):
    one = drawn(36, size=2, classes=classes, seed=seed)
    found = probe_accuracy(one, penalty=0.5, folds=3)
    monkeypatch.setattr(baselines, "logistic", Naive)
    assert found == pytest.approx(probe_accuracy(one, penalty=0.5, folds=3)) and 0 < found < 1


@pytest.mark.parametrize("neighbours", [0, 24])
def test_neighbours_that_are_not_there_are_a_sentence(neighbours):
    with pytest.raises(InputError, match=f"neighbours={neighbours}: from 1 to 23"):
        neighbours_accuracy(drawn(), neighbours=neighbours)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"penalty": 0.0, "folds": 2}, "penalty=0.0 is above 0"),
        ({"penalty": 1.0, "folds": 1}, "folds=1 at least 2"),
        ({"penalty": 1.0, "folds": 9}, "folds=9, and a class has 8 samples: lower folds"),
    ],
)
def test_settings_that_cannot_be_are_a_sentence(settings, message):
    with pytest.raises(InputError, match=message):
        probe_accuracy(drawn(), **settings)
