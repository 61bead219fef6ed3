"""Against the definitions of Agarwal et al. 2021 (arXiv:2108.13264).

No table of that paper is recomputed: its inputs, the runs of Atari 100k and others, are not at hand.
"""

from math import isnan, sqrt

import numpy as np
import pytest
from scipy import stats

from transferlab.compare.aggregate import interquartile_mean, probability_of_improvement


def tasks(sizes, seed=0, shift=0.0):
    rng = np.random.default_rng(seed)
    return [(rng.normal(0.5 + 0.05 * t + shift, 0.05, n)).tolist() for t, n in enumerate(sizes)]


def trimmed(values):
    """The mean of what is left when a quarter, rounded down, goes at either end."""
    ordered = sorted(values)
    cut = len(ordered) // 4
    return sum(ordered[cut : len(ordered) - cut]) / (len(ordered) - 2 * cut)


@pytest.mark.parametrize("sizes", [(5, 5, 5, 5, 5), (4, 4), (3, 7, 10), (2, 2, 2), (1, 1, 1), (1,)])
def test_the_interquartile_mean_is_that_of_all_runs_of_all_tasks(sizes):
    scores = tasks(sizes)
    found = interquartile_mean(scores)
    assert found.mean == pytest.approx(trimmed([score for task in scores for score in task]), rel=1e-12)


def test_the_interquartile_mean_of_twelve_is_that_of_the_middle_six():
    # 1 .. 12 in three tasks: 4 .. 9 are left, whose mean is 6.5; an outlier of any size changes nothing
    assert interquartile_mean([[1, 5, 9, 10], [2, 6, 8, 11], [3, 4, 7, 12]]).mean == 6.5
    assert interquartile_mean([[-1e6, 5, 9, 10], [2, 6, 8, 11], [3, 4, 7, 1e6]]).mean == 6.5


def improved(scores, baseline):
    """Equation 2 there: over tasks the mean of, over pairs of runs, the mean of 1, 1/2 or 0."""
    shares = []
    for own, other in zip(scores, baseline, strict=True):
        won = [1.0 if x > y else 0.5 if x == y else 0.0 for x in own for y in other]
        shares.append(sum(won) / (len(own) * len(other)))
    return sum(shares) / len(shares)


@pytest.mark.parametrize(
    ("sizes", "others"), [((5, 5, 5), (5, 5, 5)), ((3, 4), (6, 2)), ((1, 1), (1, 1)), ((10,), (10,))]
)
def test_the_probability_of_improvement_counts_pairs_of_runs(sizes, others):
    scores, baseline = tasks(sizes, 0, 0.03), tasks(others, 1)
    found = probability_of_improvement(scores, baseline)
    assert found.mean == pytest.approx(improved(scores, baseline), rel=1e-12)
    mannwhitney = [
        stats.mannwhitneyu(x, y).statistic / (len(x) * len(y)) for x, y in zip(scores, baseline, strict=True)
    ]
    assert found.mean == pytest.approx(np.mean(mannwhitney), rel=1e-12)


def test_ties_count_half():
    assert probability_of_improvement([[0.5, 0.7]], [[0.5, 0.6]]).mean == (0.5 + 0 + 1 + 1) / 4


def test_improving_on_the_baseline_is_not_being_improved_on_by_it():
    one, other = tasks((5, 4, 3), 0, 0.02), tasks((3, 4, 5), 1)
    forth, back = probability_of_improvement(one, other), probability_of_improvement(other, one)
    assert forth.mean + back.mean == pytest.approx(1)


def test_a_task_counts_as_much_as_another_whatever_its_seeds():
    found = probability_of_improvement([[1.0] * 2, [0.0] * 9], [[0.0] * 2, [1.0] * 9])
    assert found.mean == 0.5


@pytest.mark.parametrize("sizes", [(1, 5, 5), (1, 1), (1,)])
def test_a_task_with_one_seed_has_no_spread_and_so_no_interval(sizes):
    for found in (
        interquartile_mean(tasks(sizes)),
        probability_of_improvement(tasks(sizes, 0, 0.02), tasks([5] * len(sizes), 1)),
        probability_of_improvement(tasks([5] * len(sizes), 1), tasks(sizes, 0, 0.02)),
    ):
        assert not isnan(found.mean)
        assert isnan(found.low)
        assert isnan(found.high)


@pytest.mark.parametrize("sizes", [(5, 5, 5, 5, 5), (3, 6, 9), (10, 10)])
def test_the_interval_of_the_interquartile_mean_is_students_with_the_stratified_bootstraps_error(sizes):
    scores = tasks(sizes)
    found = interquartile_mean(scores)
    rng = np.random.default_rng(99)
    # n - 1 of n within each task (Rao & Wu 1988); another draw than the function's
    resampled = [
        trimmed(np.concatenate([rng.choice(task, len(task) - 1) for task in scores]).tolist()) for _ in range(4_000)
    ]
    freedom = sum(size - 1 for size in sizes)
    half = stats.t.ppf(0.975, freedom) * np.std(resampled)
    # standard error of a standard deviation of 2,000 resamples: 1.6 %
    assert found.high - found.mean == pytest.approx(half, rel=0.08)
    assert found.mean - found.low == pytest.approx(found.high - found.mean)


@pytest.mark.parametrize("sizes", [(5, 5, 5), (3, 6, 9)])
def test_a_bound_of_the_probability_is_as_far_as_its_own_chance_lets_the_estimate_stray(sizes):
    found = probability_of_improvement(tasks(sizes, 0, 0.02), tasks(sizes, 1))
    rng = np.random.default_rng(99)
    for bound in (found.low, found.high):
        effect = stats.norm.ppf(bound) * sqrt(2)  # of normal scores that beat one another with this probability
        draws = [(rng.normal(effect, 1, (20_000, n, 1)) > rng.normal(0, 1, (20_000, 1, n))).mean((1, 2)) for n in sizes]
        error = np.std(np.mean(draws, axis=0))
        assert abs(found.mean - bound) == pytest.approx(1.96 * error, rel=0.03)


def test_a_run_that_always_wins_is_not_sure_to_win():
    always, never = (probability_of_improvement(*pair) for pair in (([[2, 3]] * 2, [[0, 1]] * 2), ([[0, 1]], [[2, 3]])))
    assert (always.mean, always.high) == (1, 1)
    assert 0 < always.low < 1
    assert (never.mean, never.low) == (0, 0)
    assert 0 < never.high < 1


def test_without_trimming_the_resamples_have_the_standard_error_of_the_mean():
    # one task of three seeds: a quarter of three or two is none, so the interval is nearly Student's own
    values = [0.50, 0.56, 0.61]
    found = interquartile_mean([values])
    assert found.high - found.mean == pytest.approx(stats.t.ppf(0.975, 2) * np.std(values, ddof=1) / sqrt(3), rel=0.06)


def test_the_probability_stays_a_probability():
    found = probability_of_improvement([[0.6, 0.7, 0.8], [0.6, 0.7, 0.52]], [[0.5, 0.55, 0.5], [0.5, 0.55, 0.5]])
    assert 0 < found.low < found.mean < found.high <= 1


@pytest.mark.parametrize("confidence", [0.5, 0.9])
def test_a_lower_confidence_is_a_narrower_interval_by_students_quantile(confidence):
    scores = tasks((5, 5))
    wide, narrow = interquartile_mean(scores, 0.95), interquartile_mean(scores, confidence)
    ratio = stats.t.ppf((1 + confidence) / 2, 8) / stats.t.ppf(0.975, 8)
    assert (narrow.high - narrow.low) / (wide.high - wide.low) == pytest.approx(ratio)
