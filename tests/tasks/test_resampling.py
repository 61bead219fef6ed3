"""Weighted metrics against torchmetrics and sklearn on samples that are really repeated."""

from functools import partial

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.metrics import average_precision_score, f1_score, r2_score, roc_auc_score
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from transferlab.tasks import resampling

RNG = np.random.default_rng(0)
N, C = 40, 4
Y = RNG.integers(C, size=N)
PREDICTED = np.where(RNG.random(N) < 0.6, Y, RNG.integers(C, size=N))
BINARY = (Y > 1).astype(np.int64)
SCORES = np.round(RNG.normal(size=N) + BINARY, 1)  # with ties
NUMBERS = 50 + RNG.normal(size=N)
GUESSES = NUMBERS + RNG.normal(size=N)
WEIGHTS = resampling.drawn(25, N, np.random.default_rng(1))


def repeated(values, weights):
    return np.repeat(values, weights.astype(int))


def torchmetric(metric, weights):
    return float(metric(torch.tensor(repeated(PREDICTED, weights)), torch.tensor(repeated(Y, weights))))


@pytest.mark.parametrize(
    ("weighted", "naive"),
    [
        (
            partial(resampling.class_accuracy, predicted=PREDICTED, y=Y, classes=C + 1),
            lambda w: torchmetric(MulticlassAccuracy(C + 1, average="macro"), w),
        ),
        (
            partial(resampling.macro_f1, predicted=PREDICTED, y=Y, classes=C + 1),
            lambda w: torchmetric(MulticlassF1Score(C + 1, average="macro"), w),
        ),
        (
            partial(resampling.f1, predicted=(SCORES > 0.5).astype(int), y=BINARY),
            lambda w: f1_score(repeated(BINARY, w), repeated(SCORES > 0.5, w)),
        ),
        (
            partial(resampling.auroc, scores=SCORES, y=BINARY),
            lambda w: roc_auc_score(repeated(BINARY, w), repeated(SCORES, w)),
        ),
        (
            partial(resampling.average_precision, scores=SCORES, y=BINARY),
            lambda w: average_precision_score(repeated(BINARY, w), repeated(SCORES, w)),
        ),
        (
            partial(resampling.r2, predicted=GUESSES, y=NUMBERS),
            lambda w: r2_score(repeated(NUMBERS, w), repeated(GUESSES, w)),
        ),
        (
            partial(resampling.absolute_error, predicted=GUESSES, y=NUMBERS),
            lambda w: np.abs(repeated(NUMBERS - GUESSES, w)).mean(),
        ),
        (
            partial(resampling.root_squared_error, predicted=GUESSES, y=NUMBERS),
            lambda w: np.sqrt(np.square(repeated(NUMBERS - GUESSES, w)).mean()),
        ),
    ],
    ids=["class_accuracy", "macro_f1", "f1", "auroc", "average_precision", "r2", "mae", "rmse"],
)
def test_a_weighted_metric_is_that_of_samples_written_out_as_often(weighted, naive):
    np.testing.assert_allclose(weighted(WEIGHTS), [naive(row) for row in WEIGHTS], rtol=1e-6)


def test_a_draw_has_as_many_samples_as_there_are_and_each_equally_often():
    weights = resampling.drawn(4000, 10, np.random.default_rng(0))
    assert (weights.sum(1) == 10).all()
    # each entry is binomial (10, 1/10): its mean over 4,000 draws has a deviation of sqrt(0.9 / 4000)
    assert np.abs(weights.mean(0) - 1).max() < 5 * np.sqrt(0.9 / 4000)
    assert weights.var() == pytest.approx(0.9, rel=0.05)


def test_the_interval_of_a_mean_is_the_normal_one_for_many_samples():
    values = np.random.default_rng(2).normal(size=2000)
    low, high = resampling.intervals({"mean": partial(resampling.mean, values=values)}, len(values))["mean"]
    half = norm.ppf(0.975) * values.std() / np.sqrt(len(values))
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.15 * half)


def test_the_interval_holds_the_metric_and_is_the_same_at_every_call():
    metrics = {"auroc": partial(resampling.auroc, scores=SCORES, y=BINARY)}
    low, high = resampling.intervals(metrics, N)["auroc"]
    assert low < roc_auc_score(BINARY, SCORES) < high
    assert resampling.intervals(metrics, N)["auroc"] == [low, high]


def test_drawing_in_parts_uses_every_draw(monkeypatch):
    monkeypatch.setattr(resampling, "_AT_ONCE", 7 * N)
    sizes = []

    def counting(weights):
        sizes.append(len(weights))
        return weights[:, 0]

    resampling.intervals({"x": counting}, N)
    assert sum(sizes) == resampling.DRAWS and max(sizes) == 7


def test_an_output_counts_its_known_labels_alone():
    y = np.stack([NUMBERS, NUMBERS], 1)
    y[:30, 1] = np.nan
    first, second = resampling.each(resampling.absolute_error, np.stack([GUESSES, GUESSES], 1), y)
    assert resampling.at_hand(first, N) == pytest.approx(np.abs(GUESSES - NUMBERS).mean())
    assert resampling.at_hand(second, N) == pytest.approx(np.abs(GUESSES - NUMBERS)[30:].mean())
    both = resampling.over_outputs([first, second])
    np.testing.assert_allclose(both(WEIGHTS), (first(WEIGHTS) + second(WEIGHTS)) / 2)


def test_what_is_not_defined_is_nan_and_left_out_of_the_mean():
    known = resampling.each(resampling.absolute_error, GUESSES[:, None], NUMBERS[:, None])[0]
    unknown = resampling.each(resampling.absolute_error, GUESSES[:, None], np.full((N, 1), np.nan))[0]
    assert np.isnan(unknown(WEIGHTS)).all()
    np.testing.assert_allclose(resampling.over_outputs([known, unknown])(WEIGHTS), known(WEIGHTS))
    assert np.isnan(resampling.auroc(WEIGHTS, SCORES, np.zeros(N, int))).all()
    assert np.isnan(resampling.intervals({"x": unknown}, N)["x"]).all()


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_r2_does_not_depend_on_the_unit(unit):
    ones = np.ones((1, N))
    assert resampling.r2(ones, unit * GUESSES, unit * NUMBERS) == pytest.approx(resampling.r2(ones, GUESSES, NUMBERS))
