from itertools import product
from math import inf, isnan, sqrt

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from transferlab.compare import table
from transferlab.compare.statistics import (
    CONFIDENCE,
    bootstrap,
    holm,
    permutation_p,
    seeds_to_settle,
    student,
    wilcoxon_p,
)

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


def paired(values, baseline, confidence=CONFIDENCE):
    """As tables and verdicts have it: of the differences, seed by seed."""
    return student(table.differences(dict(enumerate(values)), dict(enumerate(baseline))), confidence)


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


def naive_bootstrap_t(values, resamples, rng, confidence=0.95):
    """Efron & Tibshirani 1993, section 12.5, one resample after another."""
    n, mean = len(values), np.mean(values)
    error = np.std(values, ddof=1) / sqrt(n)
    t = []
    while len(t) < resamples:
        drawn = rng.choice(values, n)
        spread = np.std(drawn, ddof=1) / sqrt(n)
        distance = np.mean(drawn) - mean
        t.append(distance / spread if len(set(drawn)) > 1 else np.sign(distance) * inf)
    t.sort()
    low, high = t[round(resamples * (1 - confidence) / 2) - 1], t[round(resamples * (1 + confidence) / 2) - 1]
    return mean - high * error, mean - low * error


@pytest.mark.parametrize("n", [6, 12])
def test_the_bootstrap_is_efrons_bootstrap_t_up_to_the_error_of_its_resamples(n):
    values = 0.5 + 0.01 * np.arange(1, n + 1) ** 2  # skewed, so that the two sides differ
    found = bootstrap(values.tolist(), 0.9)
    naive = [naive_bootstrap_t(values, 2_000, np.random.default_rng(seed), 0.9) for seed in range(8)]
    for bound, expected in zip((found.low, found.high), zip(*naive, strict=True), strict=True):
        # one draw of 2,000 resamples among eight others of the same size
        assert abs(bound - np.mean(expected)) < 5 * np.std(expected, ddof=1)
    assert found.mean == pytest.approx(values.mean())
    assert found.mean - found.low < found.high - found.mean  # the long tail of the values lies above


def test_the_bootstrap_moves_and_stretches_with_the_values():
    values = np.array([0.61, 0.65, 0.58, 0.70, 0.66, 0.63])
    plain, moved = bootstrap(values.tolist()), bootstrap((100 * values - 7).tolist())
    assert (moved.low, moved.mean, moved.high) == pytest.approx(
        tuple(100 * x - 7 for x in (plain.low, plain.mean, plain.high)), rel=1e-9
    )
    mirrored = bootstrap((-values).tolist())
    # the quantiles are those of the same resamples, counted from the other end
    assert (-mirrored.high, -mirrored.low) == pytest.approx((plain.low, plain.high), abs=0.02)


@pytest.mark.parametrize("value", [0.0, 0.1, 0.7, 1.0])
def test_equal_values_have_no_bootstrap_width(value):
    found = bootstrap([value] * 5)
    assert (found.low, found.mean, found.high) == pytest.approx((value, value, value), rel=1e-12)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_fewer_than_five_values_have_a_mean_and_no_bootstrap_bounds(n):
    found = bootstrap([0.5, 0.6, 0.7, 0.9][:n])
    assert found.mean == pytest.approx(np.mean([0.5, 0.6, 0.7, 0.9][:n]))
    assert isnan(found.low)
    assert isnan(found.high)


def test_where_too_many_resamples_have_no_spread_there_are_no_bounds():
    # (4 / 5)^5 of the resamples miss the one value that differs, and say nothing of how far the mean may be
    found = bootstrap([0.5, 0.5, 0.5, 0.5, 0.6])
    assert found.mean == pytest.approx(0.52)
    assert isnan(found.low) and isnan(found.high)


def enumerated(differences):
    """How many of all sign changes give a mean as far from 0, in whole units so that ties are ties."""
    units = np.round(np.asarray(differences) * 1e9).astype(np.int64)
    sums = [
        sum(s * d for s, d in zip(signs, units.tolist(), strict=True)) for signs in product((1, -1), repeat=len(units))
    ]
    return sum(abs(value) >= abs(units.sum()) for value in sums) / 2 ** len(units)


@pytest.mark.parametrize("n", range(2, 13))
def test_the_permutation_test_counts_all_changes_of_sign(n):
    rng = np.random.default_rng(n)
    continuous = rng.normal(0.3, 1, n).round(9)
    # accuracies on 500 samples: many differences are equal but for the last digits of their binary forms
    counted = rng.integers(350, 360, n) / 500 - rng.integers(345, 355, n) / 500
    for differences in (continuous, counted):
        assert permutation_p(differences.tolist()) == pytest.approx(enumerated(differences), abs=1e-12)


@pytest.mark.parametrize("n", [3, 6, 10])
def test_the_permutation_test_is_scipys_exact_one(n):
    differences = np.random.default_rng(n).normal(0.5, 1, n)
    exact = stats.permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=inf)
    assert permutation_p(differences.tolist()) == pytest.approx(exact.pvalue, abs=1e-12)


@pytest.mark.parametrize("n", range(2, 13))
def test_the_smallest_permutation_p_of_n_pairs_is_two_in_two_to_the_n(n):
    assert permutation_p([0.1] * n) == pytest.approx(2 / 2**n, rel=1e-12)
    assert permutation_p([-0.1] * n) == pytest.approx(2 / 2**n, rel=1e-12)


def test_the_permutation_p_depends_on_no_unit_order_or_side():
    d = np.random.default_rng(0).normal(0.4, 1, 9)
    p = permutation_p(d.tolist())
    assert 0.01 < p < 0.9
    assert (
        permutation_p((1e-6 * d).tolist())
        == permutation_p((-d[::-1]).tolist())
        == permutation_p((1e6 * d).tolist())
        == p
    )


@pytest.mark.parametrize("n", [13, 16])
def test_beyond_twelve_pairs_random_signs_come_near_the_exact_p(n):
    d = np.random.default_rng(n).normal(0.35, 1, n)
    exact = enumerated(d.round(9))
    assert 0.02 < exact < 0.98
    # four standard errors of a share among 9,999
    assert permutation_p(d.tolist()) == pytest.approx(exact, abs=4 * sqrt(exact * (1 - exact) / 9_999))


def test_beyond_twelve_pairs_p_is_never_zero():
    assert permutation_p([0.1] * 30) == pytest.approx(1 / 10_000)


def test_tests_of_no_difference_at_all_give_one():
    for n in (2, 5, 20):
        assert permutation_p([0.0] * n) == wilcoxon_p([0.0] * n) == 1.0


@pytest.mark.parametrize("test", [permutation_p, wilcoxon_p, seeds_to_settle])
@pytest.mark.parametrize("differences", [[], [0.1]])
def test_fewer_than_two_pairs_have_no_test(test, differences):
    assert isnan(test(differences))


def ranked_signs(differences):
    """Wilcoxon's test by its definition: all changes of sign of the ranks, zeros dropped, ties sharing a rank."""
    d = np.round(np.asarray(differences), 9)
    d = d[d != 0]
    ranks = stats.rankdata(np.abs(d))
    sums = [abs(sum(s * r for s, r in zip(signs, ranks, strict=True))) for signs in product((1, -1), repeat=len(d))]
    return np.mean(np.asarray(sums) >= abs((np.sign(d) * ranks).sum()) - 1e-9)


@pytest.mark.parametrize("n", range(2, 11))
def test_wilcoxons_test_counts_all_changes_of_sign_of_the_ranks(n):
    rng = np.random.default_rng(n)
    assert wilcoxon_p((d := rng.normal(0.3, 1, n)).tolist()) == pytest.approx(ranked_signs(d))
    assert wilcoxon_p(d.tolist()) == pytest.approx(stats.wilcoxon(d, method="exact").pvalue)


def test_equal_differences_share_a_rank_whatever_their_last_digits():
    differences = [0.72 - 0.70, 0.70 - 0.68, 0.64 - 0.66, 0.1, 0.2, 0.3]
    assert len(set(map(abs, differences))) > 4  # 0.02 three times, and not the same number
    assert wilcoxon_p(differences) == pytest.approx(ranked_signs(differences)) == wilcoxon_p([1, 1, -1, 5, 10, 15])


def test_holms_correction_is_the_one_worked_by_hand():
    # sorted: 0.01 x 4, 0.02 x 3, 0.03 x 2, 0.04 x 1, and none below the one before it
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.6]) == pytest.approx([1.0, 1.0])
    assert holm([0.03]) == [0.03]
    assert holm([]) == []


def test_holms_correction_is_that_of_statsmodels():
    p = np.random.default_rng(0).uniform(0, 0.2, 12)
    assert holm(p.tolist()) == pytest.approx(multipletests(p, method="holm")[1])


def test_a_test_that_was_not_made_is_no_member_of_the_family():
    found = holm([0.01, float("nan"), 0.04])
    assert isnan(found[1])
    assert [found[0], found[2]] == pytest.approx([0.02, 0.04])


def standardised(effect, n=8):
    """n differences whose mean is `effect` standard deviations."""
    d = np.random.default_rng(1).normal(size=n)
    return ((d - d.mean()) / d.std(ddof=1) + effect).tolist()


@pytest.mark.parametrize("effect", [0.1, 0.3, 0.5, 0.9, 1.5, 3.0, 8.0])
@pytest.mark.parametrize("power", [0.5, 0.8, 0.95])
def test_the_seeds_that_settle_are_the_fewest_with_the_power_asked_for(effect, power):
    solver = TTestPower()
    fewest = next(n for n in range(2, 2_000) if not solver.power(effect, n, 0.05) < power)
    assert seeds_to_settle(standardised(effect), power) == fewest


@pytest.mark.parametrize("effect", [0.5, 1.0])
def test_with_the_seeds_that_settle_four_of_five_studies_find_the_difference_and_with_one_fewer_not(effect):
    n = int(seeds_to_settle(standardised(effect)))
    rng = np.random.default_rng(0)

    def share(seeds):
        return np.mean(stats.ttest_1samp(rng.normal(effect, 1, (100_000, seeds)), 0, axis=1).pvalue < 0.05)

    # three standard errors of a share among 100,000: 0.004
    assert share(n) > 0.8 - 0.004
    assert share(n - 1) < 0.8 + 0.004


def test_no_difference_is_never_settled_and_one_without_spread_at_once():
    assert seeds_to_settle([0.1, -0.1]) == inf
    assert seeds_to_settle([0.25, 0.25, 0.25]) == 2


@pytest.mark.parametrize(("most", "expected"), [(33, inf), (34, 34), (100, 34)])
def test_more_seeds_than_anyone_runs_are_infinity(most, expected):
    # Cohen's d of 0.5 in a paired t-test at 5 %: 34 for a power of 0.8 (Cohen 1988, and every calculator since)
    assert seeds_to_settle(standardised(0.5), most=most) == expected
