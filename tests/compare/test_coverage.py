"""On 2,000 simulated studies with a known effect: intervals cover as often as they say, tests err as rarely.

Shares have a standard error of at most sqrt(0.05 * 0.95 / 2,000) = 0.5 %, so a method that covers 95 % stays within 93
and 97 % for sure, and one that errs in 5 % of studies below 5 % and three standard errors.
"""

from math import sqrt

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats

from transferlab.compare.aggregate import interquartile_mean, probability_of_improvement
from transferlab.compare.runs import Curves, Run
from transferlab.compare.statistics import bootstrap, holm, permutation_p, student, wilcoxon_p
from transferlab.compare.verdicts import SOURCE_AS_IT_IS, TARGET_ONLY, verdicts

pytestmark = pytest.mark.slow

STUDIES = 2_000
COVERS = (0.93, 0.97)
MOST_ERRORS = 0.05 + 3 * sqrt(0.05 * 0.95 / STUDIES)
LEVEL, SHARED, OWN = 0.7, 0.03, 0.02  # mean score; standard deviation that seeds share between strategies, and have not


def studies(effects, seeds, seed=0):
    """(studies, strategies, seeds): a score is the level, the strategy's effect, the seed's and the run's own part."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(0, SHARED, (STUDIES, 1, seeds))
    own = rng.normal(0, OWN, (STUDIES, len(effects), seeds))
    return LEVEL + np.asarray(effects)[:, None] + shared + own


def share(intervals, truth):
    return np.mean([found.low <= truth <= found.high for found in intervals])


def paired(study):
    return student(np.subtract(study[1], study[0]).tolist())


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_students_intervals_of_means_and_paired_differences_cover(seeds):
    found = studies([0.0, 0.05], seeds)
    means = share([student(study[1].tolist()) for study in found], LEVEL + 0.05)
    differences = share([paired(study) for study in found], 0.05)
    rates = f"{seeds} seeds: mean {means:.4f}, paired difference {differences:.4f}"
    assert COVERS[0] <= means <= COVERS[1], rates
    assert COVERS[0] <= differences <= COVERS[1], rates


@pytest.mark.parametrize("seeds", [5, 10, 20])
def test_bootstrap_intervals_of_means_cover(seeds):
    rate = share([bootstrap(study[0].tolist()) for study in studies([0.0], seeds, 1)], LEVEL)
    assert COVERS[0] <= rate <= COVERS[1], f"{seeds} seeds: {rate:.4f}"


def test_pairing_is_what_makes_the_differences_sharp():
    found = studies([0.0, 0.05], 5)[:200]
    sharp = np.mean([np.ptp([(d := paired(study)).low, d.high]) for study in found])
    unpaired = [stats.ttest_ind(study[1], study[0]).confidence_interval() for study in found]
    # standard deviations of a difference: 0.02 and 0.036 times sqrt 2; 4 degrees of freedom against 8
    assert sharp < 0.8 * np.mean([interval.high - interval.low for interval in unpaired])


@pytest.mark.parametrize(
    ("test", "seeds", "found_at_least"),
    [(permutation_p, 5, 0.0), (permutation_p, 8, 0.5), (permutation_p, 10, 0.9), (wilcoxon_p, 10, 0.9)],
)
def test_corrected_tests_reject_few_true_nulls_whatever_the_others_are(test, seeds, found_at_least):
    # against the first: three of no effect, two of a large one
    effects = [0.0, 0.0, 0.0, 0.0, 0.06, 0.08]
    wrong = right = 0
    for study in studies(effects, seeds, seeds):
        corrected = np.array(holm([test((strategy - study[0]).tolist()) for strategy in study[1:]]))
        wrong += (corrected[:3] < 0.05).any()
        right += (corrected[3:] < 0.05).all()
    rates = f"{seeds} seeds: a true null rejected in {wrong / STUDIES:.4f}, both effects found in {right / STUDIES:.4f}"
    assert wrong / STUDIES <= MOST_ERRORS, rates
    assert right / STUDIES >= found_at_least, rates  # a test that never rejects would pass the line above


def family(strategies, scores):
    """One frame of all studies, a target each, and the runs that it is of."""
    curves = Curves(np.array([], np.int64), {}, (), {})
    rows, runs = [], {}
    for number, study in enumerate(scores):
        for strategy, values in zip(strategies, study, strict=True):
            for seed, score in enumerate(values):
                axes = {"source": "s", "target": f"t{number:04}", "backbone": "b"}
                name = f"{number} {strategy} {seed}"
                rows.append(
                    {"run_id": name, **axes, "strategy": strategy, "method": strategy, "seed": seed, "score": score}
                )
                runs[name] = Run(name, "", "", {**axes, "strategy": strategy, "seed": seed}, {}, {}, {}, None, curves)
    return pd.DataFrame(rows), runs


def test_verdicts_err_in_few_families_and_find_what_is_there():
    strategies = [TARGET_ONLY, SOURCE_AS_IT_IS[1], "null", "better"]
    frame, runs = family(strategies, studies([0.0, 0.0, 0.0, 0.08], 5, 2))
    found = verdicts(frame, runs)
    nulls = found[found["strategy"] != "better"]
    wrong = nulls.assign(wrong=nulls["verdict"] != "no evidence").groupby(["twin", "target"])["wrong"].any()
    by_twin, by_study = wrong.groupby("twin").mean(), wrong.groupby("target").any().mean()
    right = (found.loc[found["strategy"] == "better", "verdict"] == "transfers").mean()
    rates = f"wrong of a family {by_twin.to_dict()}, of a study's two {by_study:.4f}; the better found in {right:.4f}"
    assert len(wrong) == 2 * STUDIES
    assert (by_twin <= MOST_ERRORS).all(), rates
    assert by_study <= 2 * MOST_ERRORS, rates  # two kinds of twins, each a family of its own
    assert right > 0.8, rates


def population_iqm(means, sd):
    """Of an equal mixture of normal tasks: E[X | X between its quartiles], from the normal distribution's own terms."""
    low, high = (
        optimize.brentq(
            lambda x, q=q: stats.norm.cdf(x, means, sd).mean() - q, min(means) - 9 * sd, max(means) + 9 * sd
        )
        for q in (0.25, 0.75)
    )
    a, b = (low - means) / sd, (high - means) / sd
    inside = means * (stats.norm.cdf(b) - stats.norm.cdf(a)) - sd * (stats.norm.pdf(b) - stats.norm.pdf(a))
    return inside.mean() / 0.5


@pytest.mark.parametrize("gap", [0.0, 0.05, 0.15], ids=lambda gap: f"tasks up to {gap} apart")
def test_intervals_of_interquartile_means_cover_the_populations(gap):
    means, sd = LEVEL + gap * np.linspace(-1, 1, 5), 0.03
    scores = means[:, None] + np.random.default_rng(3).normal(0, sd, (STUDIES, 5, 5))
    rate = share([interquartile_mean(study.tolist()) for study in scores], population_iqm(means, sd))
    assert COVERS[0] <= rate <= COVERS[1], f"5 tasks, 5 seeds: {rate:.4f}"


@pytest.mark.parametrize("effect", [0.0, 1.0, 2.0, 2.9], ids=lambda effect: f"effect of {effect} standard deviations")
def test_intervals_of_probabilities_of_improvement_cover(effect):
    noise = np.random.default_rng(4).normal(0, 1, (2, STUDIES, 5, 5))
    pairs = zip((noise[0] + effect).tolist(), noise[1].tolist(), strict=True)
    truth = stats.norm.cdf(effect / sqrt(2))
    rate = share([probability_of_improvement(own, other) for own, other in pairs], truth)
    assert COVERS[0] <= rate <= COVERS[1], f"5 tasks, 5 seeds, probability {truth:.3f}: {rate:.4f}"
