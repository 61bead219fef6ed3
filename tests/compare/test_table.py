import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from transferlab.compare.table import baseline_of, summarise
from transferlab.errors import InputError

SCORES = {
    "scratch": {0: 0.50, 1: 0.56, 2: 0.53},
    "l2_sp": {0: 0.71, 1: 0.70, 2: 0.78},
    "linear_probe": {1: 0.60, 2: 0.64, 3: 0.90, 4: 0.91},
}


def runs(scores=SCORES, **setting):
    rows = [
        {
            "source": "mnist",
            "target": "digits",
            "backbone": "convnet",
            "strategy": strategy,
            "method": strategy,
            "seed": seed,
            "score": score,
            "trainable_parameters": 100 * number,
            "seconds": 1.0 + int(str(seed)[-1]),
            **setting,
        }
        for number, (strategy, by_seed) in enumerate(scores.items(), start=1)
        for seed, score in by_seed.items()
    ]
    return pd.DataFrame(rows).sample(frac=1, random_state=0)  # in no order


def row(table, strategy, **setting):
    wanted = {"strategy": strategy, **setting}
    (found,) = [r for _, r in table.iterrows() if all(r[key] == value for key, value in wanted.items())]
    return found


def test_each_strategy_has_its_own_mean_and_interval_over_all_its_seeds():
    table = summarise(runs(), "scratch")
    for strategy, by_seed in SCORES.items():
        values = list(by_seed.values())
        expected = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
        found = row(table, strategy)
        assert found["seeds"] == len(values)
        assert found["mean"] == pytest.approx(np.mean(values))
        assert (found["low"], found["high"]) == pytest.approx(expected)


def test_differences_are_paired_on_the_common_seeds_alone():
    table = summarise(runs(), "scratch")
    for strategy, seeds in {"l2_sp": (0, 1, 2), "linear_probe": (1, 2)}.items():
        own, reference = ([SCORES[name][seed] for seed in seeds] for name in (strategy, "scratch"))
        test = stats.ttest_rel(own, reference).confidence_interval(0.95)
        found = row(table, strategy)
        assert found["paired_seeds"] == len(seeds)
        assert found["difference"] == pytest.approx(np.mean(np.subtract(own, reference)))
        assert (found["difference_low"], found["difference_high"]) == pytest.approx((test.low, test.high))


def test_the_baseline_has_no_difference_to_itself():
    found = row(summarise(runs(), "scratch"), "scratch")
    assert pd.isna(found["difference"])
    assert found["paired_seeds"] == 0


def test_without_a_common_seed_there_is_no_difference():
    table = summarise(runs({"scratch": {0: 0.5, 1: 0.6}, "l2_sp": {2: 0.7, 3: 0.8}}), "scratch")
    found = row(table, "l2_sp")
    assert pd.isna(found["difference"])
    assert found["paired_seeds"] == 0
    assert found["mean"] == pytest.approx(0.75)


def test_one_seed_has_no_interval():
    found = row(summarise(runs({"scratch": {0: 0.5}, "l2_sp": {0: 0.7}}), "scratch"), "l2_sp")
    assert pd.isna(found["low"])
    assert pd.isna(found["difference_high"])
    assert found["difference"] == pytest.approx(0.2)


@pytest.mark.parametrize("key", ["source", "target", "backbone"])
def test_strategies_are_compared_within_one_setting(key):
    better = {name: {seed: score + 0.1 for seed, score in by_seed.items()} for name, by_seed in SCORES.items()}
    better["l2_sp"] = {seed: score + 0.25 for seed, score in SCORES["l2_sp"].items()}
    table = summarise(pd.concat([runs(), runs(better, **{key: "zzz"})]), "scratch")
    assert len(table) == 2 * len(SCORES)
    plain = np.mean([SCORES["l2_sp"][seed] - SCORES["scratch"][seed] for seed in range(3)])
    other = {"source": "mnist", "target": "digits", "backbone": "convnet"}[key]
    assert row(table, "l2_sp", **{key: other})["difference"] == pytest.approx(plain)
    assert row(table, "l2_sp", **{key: "zzz"})["difference"] == pytest.approx(plain + 0.15)


def test_a_setting_without_the_baseline_keeps_its_means():
    table = summarise(pd.concat([runs(), runs({"l2_sp": {0: 0.9}}, target="usps")]), "scratch")
    found = row(table, "l2_sp", target="usps")
    assert found["mean"] == 0.9
    assert pd.isna(found["difference"])


def test_the_best_mean_of_a_setting_stands_first():
    table = summarise(
        pd.concat([runs({"l2_sp": {0: 0.1}, "scratch": {0: 0.2}}, target="a"), runs(target="b")]), "scratch"
    )
    assert list(zip(table["target"], table["strategy"], strict=True)) == [
        ("a", "scratch"),
        ("a", "l2_sp"),
        ("b", "linear_probe"),
        ("b", "l2_sp"),
        ("b", "scratch"),
    ]


def test_seconds_are_the_mean_of_a_run():
    found = row(summarise(runs(), "scratch"), "linear_probe")
    assert found["seconds"] == pytest.approx((2 + 3 + 4 + 5) / 4)
    assert found["trainable_parameters"] == 300


def test_a_missing_baseline_raises_with_the_nearest_name():
    with pytest.raises(InputError, match="'linear_prob'; did you mean 'linear_probe'"):
        baseline_of(runs(), "linear_prob")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["l2_sp", "linear_probe", "full_finetune", "scratch"], "scratch"),
        (["l2_sp", "linear_probe", "full_finetune"], "full_finetune"),
        (["l2_sp", "linear_probe"], "linear_probe"),
        (["l2_sp", "joint"], "joint"),
    ],
)
def test_the_plainest_strategy_is_the_baseline_where_none_is_asked_for(names, expected):
    frame = pd.DataFrame({"strategy": names, "method": names})
    assert baseline_of(frame, None) == expected
    assert baseline_of(frame, "l2_sp") == "l2_sp"


def many(gains, seeds=6):
    rng = np.random.default_rng(0)
    base = rng.normal(0.5, 0.05, seeds)
    scores = {"scratch": dict(enumerate(base))}
    for name, gain in gains.items():
        scores[name] = dict(enumerate(base + gain + rng.normal(0, 0.03, seeds)))
    return scores


def test_tests_are_corrected_for_the_strategies_of_a_setting_and_no_others():
    one, two = many({"a": 0.02, "b": 0.05, "c": 0.1}), many({"a": 0.03})
    table = summarise(pd.concat([runs(one), runs(two, target="usps")]), "scratch")
    for target, scores in (("digits", one), ("usps", two)):
        names = [name for name in scores if name != "scratch"]
        differences = {name: np.array([scores[name][s] - scores["scratch"][s] for s in range(6)]) for name in names}
        exact = {
            name: stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue
            for name, d in differences.items()
        }
        signed = {name: stats.wilcoxon(d, method="exact").pvalue for name, d in differences.items()}
        for raw, key, corrected in ((exact, "p", "p_holm"), (signed, "wilcoxon_p", "wilcoxon_holm")):
            holm = dict(zip(names, multipletests(list(raw.values()), method="holm")[1], strict=True))
            for name in names:
                found = row(table, name, target=target)
                assert found[key] == pytest.approx(raw[name])
                assert found[corrected] == pytest.approx(holm[name])


def test_the_spread_is_that_of_a_sample():
    table = summarise(runs(), "scratch")
    assert row(table, "l2_sp")["sd"] == pytest.approx(np.std(list(SCORES["l2_sp"].values()), ddof=1))


def test_where_less_is_better_the_lowest_mean_stands_first_and_differences_keep_their_sign():
    table = summarise(runs(), "scratch", sign=-1)
    assert list(table["strategy"]) == ["scratch", "l2_sp", "linear_probe"]
    plain = summarise(runs(), "scratch")
    assert row(table, "l2_sp")["difference"] == row(plain, "l2_sp")["difference"] > 0


def test_a_cost_that_some_runs_lack_is_the_mean_of_the_others():
    frame = runs({"scratch": {0: 0.5, 1: 0.6, 2: 0.7}})
    frame["flops"] = frame["seed"].map({0: 10.0, 1: None, 2: 30.0})
    frame["samples"] = None
    found = row(summarise(frame, "scratch"), "scratch")
    assert found["flops"] == 20
    assert pd.isna(found["samples"])


def test_seeds_may_be_folds():
    scores = {"scratch": {"0, fold 0": 0.5, "0, fold 1": 0.6}, "l2_sp": {"0, fold 1": 0.8, "0, fold 0": 0.6}}
    found = row(summarise(runs(scores), "scratch"), "l2_sp")
    assert (found["paired_seeds"], found["difference"]) == (2, pytest.approx(0.15))
