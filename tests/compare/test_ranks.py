from math import isnan, sqrt

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from transferlab.compare.ranks import critical_difference, ranks

NAMES = ["C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf"]
# Demsar 2006 (JMLR 7), table 6: AUC on 14 data sets. In the 13th row both of 0.975 are printed alike, but ranked 2 and
# 3: C4.5+cf before C4.5+m+cf, or the printed mean ranks would not come out. The added digit breaks that tie.
DEMSAR = pd.DataFrame(
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9751, 0.975],
        [0.957, 0.978, 0.946, 0.970],
    ],
    columns=NAMES,
)


def uncorrected(mean, tasks):
    """Friedman's statistic of mean ranks, without a correction for ties (Demsar, section 3.2.2)."""
    k = len(mean)
    return 12 * tasks / (k * (k + 1)) * (sum(rank**2 for rank in mean) - k * (k + 1) ** 2 / 4)


def test_mean_ranks_are_those_that_demsar_prints():
    found = ranks(DEMSAR)
    assert found.tasks == 14
    assert found.mean.round(3).to_dict() == {"C4.5": 3.143, "C4.5+m": 2.0, "C4.5+cf": 2.893, "C4.5+m+cf": 1.964}
    assert list(found.mean.index) == ["C4.5+m+cf", "C4.5+m", "C4.5+cf", "C4.5"]


def test_friedmans_statistic_is_the_printed_one_divided_by_the_correction_for_ties():
    found = ranks(DEMSAR)
    printed = uncorrected(found.mean, 14)
    assert printed == pytest.approx(9.28, abs=0.005)
    assert 13 * printed / (14 * 3 - printed) == pytest.approx(3.69, abs=0.005)
    # 1 - sum (t^3 - t) / (N k (k^2 - 1)): pairs in rows 6, 8 and 11, all four in row 10
    ties = 3 * (2**3 - 2) + (4**3 - 4)
    assert found.chi2 == pytest.approx(printed / (1 - ties / (14 * 4 * (4**2 - 1))))
    assert found.f == pytest.approx(13 * found.chi2 / (14 * 3 - found.chi2))


def test_what_demsar_rejects_is_rejected():
    found = ranks(DEMSAR)
    assert stats.f.isf(0.05, 3, 39) == pytest.approx(2.85, abs=0.005)  # the critical value that the paper gives
    assert found.f > 2.85
    assert found.f_p == pytest.approx(stats.f.sf(found.f, 3, 39))
    assert found.f_p < 0.05
    assert found.p == pytest.approx(stats.chi2.sf(found.chi2, 3))


@pytest.mark.parametrize(("confidence", "printed"), [(0.95, 1.25), (0.90, 1.12)])
def test_nemenyis_critical_difference_is_the_printed_one(confidence, printed):
    assert ranks(DEMSAR, confidence).critical_difference == pytest.approx(printed, abs=0.005)


# Demsar, table 5 a: the values that the critical difference is made of, to three digits (some cut, some rounded)
Q05 = {2: 1.960, 3: 2.343, 4: 2.569, 5: 2.728, 6: 2.850, 7: 2.949, 8: 3.031, 9: 3.102, 10: 3.164}
Q10 = {2: 1.645, 3: 2.052, 4: 2.291, 5: 2.459, 6: 2.589, 7: 2.693, 8: 2.780, 9: 2.855, 10: 2.920}


@pytest.mark.parametrize(("confidence", "table"), [(0.95, Q05), (0.90, Q10)])
def test_critical_differences_are_made_of_the_printed_quantiles(confidence, table):
    for strategies, q in table.items():
        for tasks in (5, 30):
            scale = sqrt(strategies * (strategies + 1) / (6 * tasks))
            assert critical_difference(strategies, tasks, confidence) == pytest.approx(q * scale, abs=1.1e-3 * scale)


def test_at_ten_percent_the_plain_tree_differs_from_the_two_best_and_at_five_nothing_differs():
    assert ranks(DEMSAR, 0.90).cliques == (("C4.5+m+cf", "C4.5+m", "C4.5+cf"), ("C4.5+cf", "C4.5"))
    assert ranks(DEMSAR, 0.95).cliques == (("C4.5+m+cf", "C4.5+m", "C4.5+cf", "C4.5"),)


def test_ranks_do_not_change_with_the_scale_of_a_task():
    stretched = DEMSAR.mul(np.arange(1, 15), axis=0).add(np.arange(14), axis=0)
    assert ranks(stretched.round(9)).mean.to_dict() == ranks(DEMSAR).mean.to_dict()


def test_where_all_tie_everywhere_nothing_differs():
    found = ranks(pd.DataFrame(np.full((6, 3), 0.5), columns=list("abc")))
    assert found.mean.to_dict() == {"a": 2, "b": 2, "c": 2}
    assert (found.chi2, found.p) == (0, 1)
    assert isnan(found.f) and isnan(found.f_p)
    assert found.cliques == (("a", "b", "c"),)


def test_the_same_order_in_every_task_is_the_largest_statistic_there_is():
    tasks = np.random.default_rng(0).uniform(0, 0.5, (30, 1)) + np.array([0.3, 0.2, 0.1])
    found = ranks(pd.DataFrame(tasks, columns=list("abc")))
    assert found.mean.to_dict() == {"a": 1, "b": 2, "c": 3}
    assert found.chi2 == pytest.approx(30 * (3 - 1))
    assert isnan(found.f) and isnan(found.f_p)  # F would be infinite
    assert found.critical_difference < 1
    assert found.cliques == ()


@pytest.mark.parametrize(("tasks", "strategies"), [(5, 3), (5, 4), (6, 6), (9, 3)])
def test_few_tasks_of_pure_noise_are_rarely_called_different(tasks, strategies):
    rng = np.random.default_rng(tasks * strategies)
    found = [ranks(pd.DataFrame(rng.normal(size=(tasks, strategies)))).p for _ in range(300)]
    # 5 % and three standard errors of 300 studies
    assert np.mean(np.array(found) < 0.05) <= 0.05 + 3 * sqrt(0.05 * 0.95 / 300)
    assert np.mean(found) == pytest.approx(0.5, abs=0.1)


def naive_cliques(mean, difference):
    """All sets of strategies within the difference that are part of no larger one, and hold more than one."""
    names = list(mean.index)
    runs = [
        names[i : j + 1]
        for i in range(len(names))
        for j in range(i + 1, len(names))
        if mean.iloc[j] - mean.iloc[i] <= difference
    ]
    return tuple(tuple(run) for run in runs if not any(set(run) < set(other) for other in runs))


@pytest.mark.parametrize("seed", range(12))
def test_cliques_are_the_largest_sets_within_the_critical_difference(seed):
    rng = np.random.default_rng(seed)
    names = list("abcdef")
    scores = pd.DataFrame(rng.normal(0, 1, (40, 6)) + np.linspace(0, rng.uniform(0, 4), 6), columns=names)
    found = ranks(scores)
    assert found.cliques == naive_cliques(found.mean, found.critical_difference)
    expected = np.mean([7 - stats.rankdata(row) for row in scores.to_numpy()], axis=0)
    assert found.mean[names].to_numpy() == pytest.approx(expected)


@pytest.mark.parametrize("shape", [(2, 4), (5, 2), (1, 1)])
def test_fewer_than_three_tasks_or_strategies_are_not_ranked(shape):
    assert ranks(pd.DataFrame(np.random.default_rng(0).normal(size=shape))) is None


def test_true_nulls_are_rejected_at_their_level():
    rng = np.random.default_rng(0)
    rejected = sum(ranks(pd.DataFrame(rng.normal(size=(10, 4)))).f_p < 0.05 for _ in range(400))
    # three standard errors of a share of 0.05 among 400
    assert rejected / 400 < 0.05 + 3 * sqrt(0.05 * 0.95 / 400)
