from math import isnan, sqrt

import numpy as np
import pytest
from scipy import stats

from transferlab.compare.statistics import paired, student

VALUES = [0.81, 0.78, 0.85, 0.80, 0.83]
OTHERS = [0.70, 0.74, 0.69, 0.75, 0.68]
# the 97.5 % point of Student's t, from any table: degrees of freedom -> t
TABLE = {1: 12.706, 2: 4.303, 4: 2.776, 9: 2.262, 29: 2.045}


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.99])
def test_student_is_scipys_t_interval(confidence):
    found = student(VALUES, confidence)
    expected = stats.t.interval(confidence, len(VALUES) - 1, loc=np.mean(VALUES), scale=stats.sem(VALUES))
    assert (found.low, found.high) == pytest.approx(expected, rel=1e-12)
    assert found.mean == pytest.approx(sum(VALUES) / len(VALUES), rel=1e-12)


@pytest.mark.parametrize(("freedom", "t"), TABLE.items())
def test_student_is_the_formula_with_the_printed_quantile(freedom, t):
    values = np.random.default_rng(freedom).normal(0.7, 0.05, freedom + 1).tolist()
    n = len(values)
    mean = sum(values) / n
    half = t * sqrt(sum((x - mean) ** 2 for x in values) / (n - 1)) / sqrt(n)
    found = student(values)
    assert found.low == pytest.approx(mean - half, abs=2e-4 * half)
    assert found.high == pytest.approx(mean + half, abs=2e-4 * half)


def test_student_covers_the_true_mean_in_95_of_100_samples():
    draws = np.random.default_rng(0).normal(size=(2000, 4))
    covered = sum(interval.low <= 0 <= interval.high for interval in map(student, draws.tolist()))
    # three standard errors of a share of 0.95 among 2000: 0.0146
    assert covered / 2000 == pytest.approx(0.95, abs=0.0146)


def test_one_value_has_a_mean_and_no_bounds():
    found = student([0.7])
    assert found.mean == 0.7
    assert isnan(found.low)
    assert isnan(found.high)


@pytest.mark.parametrize("value", [0.0, 0.1, 0.7, 1.0, 1e-9])
def test_equal_values_have_no_width(value):
    found = student([value] * 3)
    assert (found.low, found.mean, found.high) == pytest.approx((value, value, value), rel=1e-12)


def test_paired_is_the_student_interval_of_the_differences():
    assert paired(VALUES, OTHERS, 0.9) == student([x - y for x, y in zip(VALUES, OTHERS, strict=True)], 0.9)


@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_paired_is_the_interval_of_scipys_paired_t_test(confidence):
    found = paired(VALUES, OTHERS, confidence)
    expected = stats.ttest_rel(VALUES, OTHERS).confidence_interval(confidence)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-10)


def test_pairing_takes_out_what_the_seeds_share():
    seeds = np.random.default_rng(1).normal(0, 0.2, 6)
    jitter = np.array([0.01, -0.01, 0.02, -0.02, 0.01, -0.01])
    found = paired((0.6 + seeds + jitter).tolist(), (0.5 + seeds).tolist())
    alone = student((0.6 + seeds).tolist())
    assert found.mean == pytest.approx(0.1)
    assert found.high - found.low < (alone.high - alone.low) / 5


def test_one_common_seed_has_a_difference_and_no_bounds():
    found = paired([0.8], [0.6])
    assert found.mean == pytest.approx(0.2)
    assert isnan(found.low)
    assert isnan(found.high)
