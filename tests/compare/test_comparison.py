"""From raw JSON files to every number of a comparison, rebuilt with json, NumPy and SciPy alone."""

import json
from itertools import product
from math import isnan, sqrt

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from transferlab.compare.comparison import analyse
from transferlab.compare.records import load
from transferlab.errors import InputError

COSTS = ("seconds", "fit_seconds", "samples", "trainable_parameters", "flops", "peak_memory_bytes")
GAINS = {"scratch": 0.0, "linear_probe": -0.05, "full_finetune": 0.03, "l2_sp": 0.06}
TARGETS = {"digits": 0.7, "usps": 0.6, "svhn": 0.4, "kmnist": 0.55, "mnist": 0.65}
SEEDS = range(6)


@pytest.fixture
def study(tmp_path, write_run):
    """Four strategies on five targets; one seed of one strategy is missing, and costs differ."""
    rng = np.random.default_rng(0)
    for target, level in TARGETS.items():
        for seed in SEEDS:
            shared = rng.normal(0, 0.03)
            for number, (strategy, gain) in enumerate(GAINS.items()):
                if (target, seed, strategy) == ("usps", 2, "full_finetune"):
                    continue
                test, val, oracle = level + gain + shared + rng.normal(0, [0.02, 0.02, 0.005])
                selected = {"rule": "target_validation", "epoch": 3, "val/accuracy": val, "test/accuracy": test}
                last = {"epoch": 9, "val/accuracy": val - 0.01, "test/accuracy": test - 0.02}
                best = {"epoch": 5, "val/accuracy": val - 0.01, "test/accuracy": max(test, oracle)}
                cost = {
                    "seconds": 10.0 * (number + 1) + rng.uniform(),
                    "fit_seconds": 5.0 + rng.uniform(),
                    "samples": 1000 * (1 + number % 2),
                    "trainable_parameters": 500 if strategy == "linear_probe" else 90_000,
                    "total_parameters": 90_000,
                    "flops": None if strategy == "scratch" and seed == 0 else 1e9 * (4 - number),
                    "peak_memory_bytes": None,
                }
                metrics = {"selected": selected, "last": last, "oracle": best if seed % 2 else None}
                write_run(strategy, seed, source="mnist", target=target, metrics=metrics, cost=cost)
    return load([tmp_path / "runs"], "test/accuracy")


def raw(tmp_path):
    """target -> strategy -> seed -> record, read with nothing but json."""
    found = {}
    for path in (tmp_path / "runs").rglob("run.json"):
        record = json.loads(path.read_text())
        axes = record["axes"]
        found.setdefault(axes["target"], {}).setdefault(axes["strategy"], {})[axes["seed"]] = record
    assert sum(len(seeds) for strategies in found.values() for seeds in strategies.values()) == 5 * 4 * 6 - 1
    return found


def scores(records, which="selected"):
    return {
        seed: (records[seed]["metrics"][which] or {}).get("test/accuracy")
        for seed in sorted(records)
        if records[seed]["metrics"][which]
    }


def interval(values, confidence=0.95):
    n, mean, sd = len(values), np.mean(values), np.std(values, ddof=1)
    half = stats.t.ppf((1 + confidence) / 2, n - 1) * sd / sqrt(n)
    return [mean - half, mean + half]


def signs_p(differences):
    sums = [abs(np.dot(signs, differences)) for signs in product((1, -1), repeat=len(differences))]
    return np.mean(np.asarray(sums) >= abs(sum(differences)) * (1 - 1e-12))


def holm(p):
    """Step down: the smallest times k, the next times k - 1, ..., never falling, at most 1."""
    found, least = dict(p), 0.0
    for place, name in enumerate(sorted(p, key=p.get)):
        least = max(least, min(1.0, p[name] * (len(p) - place)))
        found[name] = least
    return found


def test_every_number_of_the_table_is_that_of_the_raw_records(study, tmp_path):
    found = analyse(study).table.set_index(["target", "strategy"])
    records = raw(tmp_path)
    assert len(found) == 20
    for target, strategies in records.items():
        reference = scores(strategies["scratch"])
        raw_p, raw_w = {}, {}
        for strategy, runs in strategies.items():
            row, own = found.loc[(target, strategy)], scores(runs)
            values = list(own.values())
            assert (row["source"], row["backbone"], row["method"]) == ("mnist", "convnet", strategy)
            assert row["seeds"] == len(values)
            assert row["mean"] == pytest.approx(np.mean(values))
            assert row["sd"] == pytest.approx(np.std(values, ddof=1))
            assert [row["low"], row["high"]] == pytest.approx(interval(values))
            assert row["bootstrap_low"] < row["mean"] < row["bootstrap_high"]
            for cost in COSTS:
                known = [run["cost"][cost] for run in runs.values() if run["cost"][cost] is not None]
                assert row[cost] == pytest.approx(np.mean(known)) if known else pd.isna(row[cost])
            if strategy == "scratch":
                assert pd.isna(row["difference"]) and row["paired_seeds"] == 0 and pd.isna(row["p"])
                continue
            d = [own[seed] - reference[seed] for seed in sorted(own.keys() & reference.keys())]
            assert row["paired_seeds"] == len(d) == (5 if (target, strategy) == ("usps", "full_finetune") else 6)
            assert row["difference"] == pytest.approx(np.mean(d))
            assert [row["difference_low"], row["difference_high"]] == pytest.approx(interval(d))
            raw_p[strategy] = signs_p(d)
            raw_w[strategy] = signs_p(stats.rankdata(np.abs(d)) * np.sign(d))
            assert row["p"] == pytest.approx(raw_p[strategy])
            assert row["wilcoxon_p"] == pytest.approx(raw_w[strategy])
            n, effect = int(row["seeds_to_settle"]), abs(np.mean(d)) / np.std(d, ddof=1)
            assert power(effect, n) >= 0.8 and (n == 2 or power(effect, n - 1) < 0.8)
        for strategy in raw_p:
            assert found.loc[(target, strategy), "p_holm"] == pytest.approx(holm(raw_p)[strategy])
            assert found.loc[(target, strategy), "wilcoxon_holm"] == pytest.approx(holm(raw_w)[strategy])


def power(effect, n):
    """Of the two-sided paired t-test at 5 %, by the noncentral t distribution."""
    edge = stats.t.ppf(0.975, n - 1)
    return stats.nct.sf(edge, n - 1, effect * sqrt(n)) + stats.nct.cdf(-edge, n - 1, effect * sqrt(n))


def test_rows_stand_in_order_of_their_means_within_each_target(study):
    table = analyse(study).table
    assert list(dict.fromkeys(table["target"])) == sorted(TARGETS)
    for _, group in table.groupby("target"):
        assert group["mean"].is_monotonic_decreasing


def test_fronts_are_those_of_the_raw_means(study, tmp_path):
    found = analyse(study).table.set_index(["target", "strategy"])
    for target, strategies in raw(tmp_path).items():
        for cost in ("seconds", "samples", "trainable_parameters", "flops"):
            points = {}
            for name, runs in strategies.items():
                known = [run["cost"][cost] for run in runs.values() if run["cost"][cost] is not None]
                points[name] = (np.mean(list(scores(runs).values())), np.mean(known))
            for name, (mean, price) in points.items():
                beaten = any(m >= mean and c <= price and (m > mean or c < price) for m, c in points.values())
                assert found.loc[(target, name), f"front_{cost}"] == (not beaten), (target, name, cost)
        assert not found.loc[target, "front_peak_memory_bytes"].any()  # nobody measured it


def test_verdicts_are_those_of_the_raw_records(study, tmp_path):
    found = analyse(study).verdicts
    records = raw(tmp_path)
    families = {"scratch": ("full_finetune", "l2_sp", "linear_probe"), "linear_probe": ("full_finetune", "l2_sp")}
    assert len(found) == 5 * 5
    for target, strategies in records.items():
        for twin, family in families.items():
            other = scores(strategies[twin])
            for strategy in family:
                own = scores(strategies[strategy])
                low, high = interval([own[s] - other[s] for s in own], 1 - 0.05 / 5)
                (row,) = found[(found[["target", "strategy", "twin"]] == [target, strategy, twin]).all(axis=1)].to_dict(
                    "records"
                )
                assert [row["low"], row["high"]] == pytest.approx([low, high])
                assert row["verdict"] == ("transfers" if low > 0 else "harms" if high < 0 else "no evidence")


def test_the_overall_table_is_that_of_the_raw_records(study, tmp_path):
    comparison = analyse(study)
    records, found = raw(tmp_path), comparison.overall.set_index("strategy")
    means = pd.DataFrame(
        {t: {s: np.mean(list(scores(r).values())) for s, r in runs.items()} for t, runs in records.items()}
    )
    ranks = {s: np.mean([1 + sum(means[t] > means.loc[s, t]) for t in records]) for s in means.index}
    for strategy in GAINS:
        row = found.loc[strategy]
        everything = sorted(score for runs in records.values() for score in scores(runs[strategy]).values())
        cut = len(everything) // 4
        assert row["settings"] == 5
        assert row["runs"] == len(everything)
        assert row["iqm"] == pytest.approx(np.mean(everything[cut:-cut]))
        assert row["iqm_low"] < row["iqm"] < row["iqm_high"]
        assert row["rank"] == pytest.approx(ranks[strategy])
        if strategy == "scratch":
            assert pd.isna(row["improvement"])
            continue
        shares = [
            np.mean(
                [(x > y) + (x == y) / 2 for x in scores(r[strategy]).values() for y in scores(r["scratch"]).values()]
            )
            for r in records.values()
        ]
        assert row["improvement"] == pytest.approx(np.mean(shares))
        assert 0 <= row["improvement_low"] <= row["improvement"] <= row["improvement_high"] <= 1
    assert comparison.ranks.mean.to_dict() == pytest.approx(ranks)
    assert comparison.ranks.chi2 == pytest.approx(stats.friedmanchisquare(*means.loc[list(GAINS)].to_numpy()).statistic)
    assert comparison.ranks.p < 0.01  # five targets that all but agree
    assert list(found.index) == sorted(ranks, key=ranks.get)


def test_honest_selection_is_that_of_the_raw_records(study, tmp_path):
    found = analyse(study).honest.set_index(["target", "strategy"])
    for target, strategies in raw(tmp_path).items():
        for strategy, runs in strategies.items():
            row, own, oracle = found.loc[(target, strategy)], scores(runs), scores(runs, "oracle")
            gaps = [oracle[seed] - own[seed] for seed in oracle]
            assert row["rule"] == "target_validation"
            assert row["selected"] == pytest.approx(np.mean(list(own.values())))
            assert row["last"] == pytest.approx(np.mean(list(scores(runs, "last").values())))
            assert row["oracle"] == pytest.approx(np.mean(list(oracle.values())))
            assert row["gap"] == pytest.approx(np.mean(gaps))
            assert [row["gap_low"], row["gap_high"]] == pytest.approx(interval(gaps))
            assert row["gap_runs"] == len(gaps) == 3


def test_a_loss_is_compared_the_other_way_round(tmp_path, write_run):
    rng = np.random.default_rng(3)
    for target in TARGETS:
        for seed in SEEDS:
            for strategy, gain in GAINS.items():
                write_run(strategy, seed, 0.5 + gain + rng.normal(0, 0.01), target=target)
    better, less = (analyse(load([tmp_path], f"test/{name}")) for name in ("accuracy", "loss"))
    # the helper's loss is 1 - accuracy
    assert list(less.table["strategy"]) == list(better.table["strategy"])
    assert less.table["difference"].dropna().tolist() == pytest.approx((-better.table["difference"].dropna()).tolist())
    assert less.overall["strategy"].tolist() == better.overall["strategy"].tolist()
    assert less.overall["improvement"].dropna().tolist() == pytest.approx(
        better.overall["improvement"].dropna().tolist()
    )
    assert less.verdicts["verdict"].tolist() == better.verdicts["verdict"].tolist()
    assert less.table["front_seconds"].tolist() == better.table["front_seconds"].tolist()
    assert less.ranks.mean.to_dict() == better.ranks.mean.to_dict()


def test_one_run_is_a_table_of_one_row(tmp_path, write_run):
    write_run("l2_sp", 0, 0.7)
    found = analyse(load([tmp_path], None))
    (row,) = found.table.to_dict("records")
    assert (row["strategy"], row["seeds"], row["mean"], row["paired_seeds"]) == ("l2_sp", 1, 0.7, 0)
    assert isnan(row["low"]) and isnan(row["bootstrap_low"]) and pd.isna(row["sd"])
    assert found.overall.empty and found.ranks is None and found.trials.empty and found.efficiency.empty
    assert any("Fewer than 3 seeds" in note for note in found.notes)
    assert "alone here" in next(iter(found.winners.values()))


def test_one_seed_has_differences_and_concludes_nothing(tmp_path, write_run):
    write_run("scratch", 0, 0.5)
    write_run("l2_sp", 0, 0.7)
    found = analyse(load([tmp_path], None))
    row = found.table.iloc[0]
    assert (row["strategy"], row["difference"]) == ("l2_sp", pytest.approx(0.2))
    assert isnan(row["difference_low"]) and isnan(row["p"]) and isnan(row["seeds_to_settle"])
    assert found.verdicts["verdict"].isna().all()
    assert any("nothing can be concluded" in note for note in found.notes)
    assert "With 1 seed in common nothing can be said" in next(iter(found.winners.values()))


def test_strategies_with_different_seeds_are_paired_on_the_common_ones_and_it_is_said(tmp_path, write_run):
    for seed in range(4):
        write_run("scratch", seed, 0.5 + seed / 100)
        write_run("l2_sp", seed + 2, 0.6 + seed / 50)
    found = analyse(load([tmp_path], None))
    row = found.table.set_index("strategy").loc["l2_sp"]
    assert (row["seeds"], row["paired_seeds"]) == (4, 2)
    assert row["difference"] == pytest.approx(np.mean([0.6 - 0.52, 0.62 - 0.53]))
    assert any("paired on the common ones" in note and "l2_sp" in note for note in found.notes)


def test_a_strategy_that_some_target_lacks_is_left_out_of_the_overall_table_by_name(tmp_path, write_run):
    for target in TARGETS:
        for strategy in ("scratch", "l2_sp", "joint"):
            if (target, strategy) != ("usps", "joint"):
                for seed in range(3):
                    write_run(strategy, seed, 0.5 + seed / 10, target=target)
    found = analyse(load([tmp_path], None))
    assert set(found.overall["strategy"]) == {"scratch", "l2_sp"}
    assert any("joint" in note and "overall" in note for note in found.notes)
    assert found.ranks is None  # two strategies are too few


def test_an_unknown_baseline_is_named_with_the_nearest(tmp_path, write_run):
    write_run("linear_probe")
    with pytest.raises(InputError, match="'linear_prob'; did you mean 'linear_probe'"):
        analyse(load([tmp_path], None), "linear_prob")


def diagnosed(write_run, ranks, probes, seeds=3):
    """Two strategies, the second better, with a feature rank each, seen on a probe each."""
    for at, (strategy, rank, probe) in enumerate(zip(("scratch", "l2_sp"), ranks, probes, strict=True)):
        for seed in range(seeds):
            looked = {"diagnostics/feature_rank": rank + seed / 100, "diagnostics/samples": probe}
            row = {"epoch": 0, "trainable": [], "lr": {}, **looked}
            write_run(strategy, seed, 0.5 + at / 10 + seed / 1000, history=[row])


@pytest.mark.parametrize(
    ("ranks", "probes", "seeds", "said"),
    [
        ((20.0, 30.0), (50, 50), 3, "it used more directions of its features (30, the other 20)"),
        ((20.0, 30.0), (50, 50), 2, ""),  # of two seeds nothing is said
        ((20.0, 30.0), (50, 80), 3, ""),  # of other numbers of samples the ranks are no match
        ((20.0, 20.5), (50, 50), 3, "No diagnostic sets it apart"),  # too little to be worth saying
    ],
)
def test_the_winner_stands_apart_only_in_what_was_seen_alike_and_differs(
    ranks, probes, seeds, said, tmp_path, write_run
):
    diagnosed(write_run, ranks, probes, seeds)
    (told,) = analyse(load([tmp_path], None)).winners.values()
    assert said in told
    assert ("apart" in told) == bool(said)


def test_the_winner_is_held_against_the_second_by_an_interval_widened_for_all(tmp_path, write_run):
    rng = np.random.default_rng(0)
    gains = {"scratch": 0.0, "linear_probe": 0.1, "l2_sp": 0.101}
    drawn = {name: 0.5 + gain + rng.normal(0, 0.02, 5) for name, gain in gains.items()}
    for name, values in drawn.items():
        for seed, score in enumerate(values):
            write_run(name, seed, float(score))
    best, second = sorted((name for name in gains if name != "scratch"), key=lambda name: -drawn[name].mean())
    (told,) = analyse(load([tmp_path], None)).winners.values()
    low, high = interval(drawn[best] - drawn[second], 1 - 0.05 / 2)
    assert (
        f"cannot be told from {second}: {100 * (drawn[best] - drawn[second]).mean():+.1f} [{100 * low:+.1f}, " in told
    )
    assert f"{100 * high:+.1f}], an interval widened for 2 comparisons" in told
    low, high = interval(drawn[best] - drawn["scratch"], 1 - 0.05 / 2)
    assert low > 0 and "it differs from scratch by" in told and f"[{100 * low:+.1f}, {100 * high:+.1f}]" in told


def test_settings_that_differ_in_what_is_tuned_are_no_tasks(tmp_path, write_run):
    for lr in (0.1, 0.2, 0.3, 0.4, 0.5):
        for number, strategy in enumerate(GAINS):
            for seed in range(3):
                write_run(strategy, seed, 0.5 + number / 10 + lr / 10 + seed / 100, config={"optimizer": {"lr": lr}})
    found = analyse(load([tmp_path], None))
    assert found.ranks is None
    assert found.overall.empty


def test_label_budgets_of_one_target_are_one_task_to_ranks(tmp_path, write_run):
    for labels in (1, 2, 3, 4, 5):
        for number, strategy in enumerate(GAINS):
            for seed in range(3):
                write_run(strategy, seed, 0.5 + number / 10 + seed / 100, config={"target": {"labels": labels}})
    found = analyse(load([tmp_path], None))
    assert found.ranks is None
    assert set(found.overall["settings"]) == {5}
    assert any("share a target" in note for note in found.notes)
