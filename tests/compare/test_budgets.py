from itertools import product
from math import isnan

import numpy as np
import pandas as pd
import pytest

from transferlab.compare.budgets import COSTS, expected, front, trials
from transferlab.compare.records import load


def table(points, target="digits"):
    rows = [
        {"source": "s", "target": target, "backbone": "b", "strategy": str(i), "mean": mean, "seconds": cost}
        for i, (mean, cost) in enumerate(points)
    ]
    return pd.DataFrame(rows)


def beaten(point, other, sign):
    """Whether the other is as good and as cheap, and better in one of the two."""
    (mean, cost), (mean_, cost_) = point, other
    return sign * mean_ >= sign * mean and cost_ <= cost and (sign * mean_ > sign * mean or cost_ < cost)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("seed", range(10))
def test_the_front_is_what_nothing_beats_for_less(seed, sign):
    rng = np.random.default_rng(seed)
    # few distinct values, so that points tie in one coordinate or both
    points = list(zip(rng.integers(0, 6, 15) / 10, rng.integers(1, 7, 15), strict=True))
    found = front(table(points), "seconds", sign)
    assert found.tolist() == [not any(beaten(p, q, sign) for q in points) for p in points]


def test_equals_are_on_the_front_together():
    assert front(table([(0.7, 2), (0.7, 2), (0.6, 2), (0.7, 3)]), "seconds").tolist() == [True, True, False, False]


def test_a_front_is_that_of_one_setting():
    both = pd.concat([table([(0.9, 1)]), table([(0.5, 7), (0.4, 8)], "usps")], ignore_index=True)
    assert front(both, "seconds").tolist() == [True, True, False]


def test_what_has_no_cost_is_on_no_front_and_beats_nothing():
    assert front(table([(0.9, None), (0.5, 3), (0.4, 4)]), "seconds").tolist() == [False, True, False]


def enumerated(scores, validation, k):
    """The mean, over all k-tuples with replacement, of the score of the best validated; of equals, of all alike."""
    found = []
    for drawn in product(range(len(scores)), repeat=k):
        best = max(validation[i] for i in drawn)
        found.append(np.mean([scores[i] for i in drawn if validation[i] == best]))
    return np.mean(found)


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("n", [1, 2, 4, 5])
def test_the_expected_best_of_k_is_the_mean_over_all_draws(n, k):
    rng = np.random.default_rng(10 * n + k)
    scores, validation = rng.uniform(size=n).tolist(), rng.uniform(size=n).tolist()
    assert expected(scores, validation, k) == pytest.approx(enumerated(scores, validation, k), rel=1e-12)
    tied = rng.integers(0, 2, n).tolist()
    assert expected(scores, tied, k) == pytest.approx(enumerated(scores, tied, k), rel=1e-12)


@pytest.mark.parametrize("k", [1, 3, 20])
def test_the_expected_best_of_k_is_dodges_formula(k):
    values = np.random.default_rng(k).uniform(size=9).tolist()
    n, ordered = len(values), sorted(values)
    # eq. 4 of Dodge et al. 2019: the empirical distribution to the k-th power, and its jumps
    formula = sum(v * ((i / n) ** k - ((i - 1) / n) ** k) for i, v in enumerate(ordered, start=1))
    assert expected(values, values, k) == pytest.approx(formula, rel=1e-12)


def test_one_trial_is_the_mean_of_trials_and_many_are_the_best_validated():
    scores, validation = [0.5, 0.9, 0.6], [0.4, 0.3, 0.8]
    assert expected(scores, validation, 1) == pytest.approx(2 / 3)
    # by the validation score, which is not the best on test
    assert expected(scores, validation, 500) == pytest.approx(0.6)


def test_where_nothing_was_validated_nothing_is_expected():
    assert isnan(expected([0.5, 0.6], [0.4, float("nan")], 2))
    assert isnan(expected([0.5, 0.6], [None, 0.4], 1))


def trial(write_run, method, seed, score, val, lr=0.01, labels=10, target="digits", **config):
    epoch = {"epoch": 1, "val/accuracy": val, "test/accuracy": score}
    metrics = {"selected": {"rule": "last", **epoch}, "last": epoch, "oracle": None}
    config = {"optimizer": {"lr": lr}, "target": {"labels": labels, "name": target}, **config}
    write_run(method, seed, score, target=target, metrics=metrics, config=config)


GRID = {0.01: (0.50, 0.70), 0.1: (0.60, 0.65), 1.0: (0.40, 0.20)}  # rate -> score, validation


def grid(write_run, **changes):
    for seed in (0, 1, 2):
        for lr, (score, val) in GRID.items():
            trial(write_run, "l2_sp", seed, score + seed / 100, val + seed / 50, lr, **changes)
        for lr in (0.01, 0.1):
            trial(write_run, "scratch", seed, 0.3 + lr + seed / 100, 0.3 + lr, lr, **changes)


def found_trials(tmp_path):
    study = load([tmp_path], "test/accuracy")
    return study, trials(study.table, study.runs)


def test_a_trial_is_a_configuration_and_its_score_the_mean_over_its_seeds(tmp_path, write_run):
    grid(write_run)
    _, found = found_trials(tmp_path)
    assert found.groupby("method")["trials"].unique().map(list).to_dict() == {"l2_sp": [3], "scratch": [2]}
    own = found[found["method"] == "l2_sp"].set_index("k")["expected"]
    scores, validation = ([pair[i] + 0.01 * (1 + i) for pair in GRID.values()] for i in (0, 1))
    assert own.to_dict() == pytest.approx({k: enumerated(scores, validation, k) for k in (1, 2, 3)})
    other = found[found["method"] == "scratch"].set_index("k")["expected"]
    assert other.to_dict() == pytest.approx({1: 0.365, 2: 0.32 / 4 + 0.41 * 3 / 4})


def test_a_strategy_that_was_not_tuned_has_one_trial_beside_those_of_others(tmp_path, write_run):
    grid(write_run)
    for seed in (0, 1):
        trial(write_run, "joint", seed, 0.7 + seed / 10, 0.5)
    _, found = found_trials(tmp_path)
    row = found[found["method"] == "joint"]
    assert row[["trials", "k"]].to_numpy().tolist() == [[1, 1]]
    assert row["expected"].tolist() == pytest.approx([0.75])


def test_label_budgets_and_targets_are_settings_of_trials_and_no_trials(tmp_path, write_run):
    for labels in (5, 10):
        for target in ("digits", "usps"):
            grid(write_run, labels=labels, target=target)
    study, found = found_trials(tmp_path)
    assert set(found["target"]) == {f"{t} target.labels={n}" for t in ("digits", "usps") for n in (5, 10)}
    assert set(found.loc[found["method"] == "l2_sp", "trials"]) == {3}
    # the rates make settings of the comparison, since every strategy was run with several
    assert all("optimizer.lr" in target for target in study.table["target"])


def test_seeds_labels_and_folds_alone_are_no_trials(tmp_path, write_run):
    for seed in (0, 1, 2):
        for labels in (5, 10):
            for strategy in ("scratch", "l2_sp"):
                trial(write_run, strategy, seed, 0.5, 0.4, labels=labels)
    assert found_trials(tmp_path)[1].empty


def test_folds_are_no_trials(tmp_path, write_run):
    for fold in (0, 1):
        for strategy in ("scratch", "l2_sp"):
            write_run(strategy, config={"target": {"folds": 2, "fold": fold}})
    assert found_trials(tmp_path)[1].empty


def test_parts_of_a_strategy_are_tuned_too(tmp_path, write_run):
    for weight in (0.1, 1.0):
        trial(write_run, "l2_sp", 0, weight / 2, weight, strategy={"losses": {"l2_sp": {"weight": weight}}})
    _, found = found_trials(tmp_path)
    assert found["expected"].tolist() == pytest.approx([0.275, 0.05 / 4 + 0.5 * 3 / 4])


def test_of_a_validation_loss_the_lowest_is_taken(tmp_path, write_run):
    for lr, (score, val) in GRID.items():
        trial(write_run, "l2_sp", 0, score, val, lr)
    study = load([tmp_path], "test/accuracy")
    last = trials(study.table, study.runs, validation_sign=-1).iloc[-1]
    scores, validation = zip(*GRID.values(), strict=True)
    assert last["expected"] == pytest.approx(enumerated(scores, [-v for v in validation], 3))


def test_the_costs_with_a_front_are_columns_of_a_study(tmp_path, write_run):
    write_run()
    assert set(COSTS) <= set(load([tmp_path], None).table)
