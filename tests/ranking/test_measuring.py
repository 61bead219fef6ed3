"""Intervals of scores over the samples, and embeddings of tasks."""

import numpy as np
import pytest

from transferlab.ranking.embedding import _head
from transferlab.ranking.measuring import interval, measured
from transferlab.selection.logistic import logistic
from transferlab.transferability.candidate import Candidate


def candidate(samples=400, seed=0, **more):
    rng = np.random.default_rng(seed)
    return Candidate(rng.normal(size=(samples, 3)), **more)


def mean(one):
    return float(one.features[:, 0].mean())


def test_an_interval_of_a_mean_is_that_of_its_standard_error():
    one = candidate()
    low, high = interval(one, mean, mean(one), 2000)
    error = one.features[:, 0].std() / np.sqrt(len(one.features))
    assert (high - low) / (2 * 1.96 * error) == pytest.approx(1, abs=0.08)
    assert low < mean(one) < high


def test_draws_keep_the_size_of_each_class():
    y = np.repeat([0, 1, 5], [1, 10, 30])

    def counted(one):
        assert np.bincount(one.labels, minlength=6).tolist() == [1, 10, 0, 0, 0, 30]
        return 0.0

    assert interval(candidate(41, labels=y), counted, 0.0, 20) == (0.0, 0.0)


def test_of_two_candidates_the_same_samples_are_drawn():
    one, other = candidate(seed=0), candidate(seed=0)
    assert interval(one, mean, 0.0, 50) == interval(other, mean, 0.0, 50)


def test_what_moves_every_draw_does_not_move_the_interval():
    low, high = interval(candidate(), lambda one: mean(one) + 7 * (len(np.unique(one.features)) < 1200), 0.0, 200)
    assert low < 0 < high and high - low < 1


def test_scores_that_hold_samples_out_have_no_interval():
    found = measured(candidate(), {"mean": mean, "probe_accuracy": mean}, 10, ["mean", "probe_accuracy"])
    assert found.intervals.keys() == {"mean"} and found.scores.keys() == found.seconds.keys() == {
        "mean",
        "probe_accuracy",
    }


@pytest.mark.parametrize("classes", [2, 4])
def test_a_tasks_head_is_that_of_its_logistic_regression(classes):
    rng = np.random.default_rng(0)
    x, y = 5 * rng.normal(size=(60, 3)) + 2, np.arange(60) % classes
    weight, bias = _head(x, y)
    logits = x @ weight.T + bias
    shares = np.exp(logits - logits.max(1, keepdims=True))
    expected = logistic(x, y, 1.0).predict_proba(x)
    assert shares / shares.sum(1, keepdims=True) == pytest.approx(expected, abs=1e-9)
