import numpy as np
import pandas as pd
import pytest
from scipy import stats

from transferlab.compare.records import load
from transferlab.compare.verdicts import verdicts

SCRATCH = [0.50, 0.53, 0.48, 0.55, 0.51]
GAINS = {
    "transfers": [0.10, 0.12, 0.09, 0.11, 0.13],
    "harms": [-0.10, -0.12, -0.09, -0.11, -0.13],
    "no evidence": [0.10, -0.12, 0.09, -0.11, 0.01],
}


def write(write_run, strategy, scores, seeds=None, **changes):
    for seed, score in zip(seeds or range(len(scores)), scores, strict=True):
        write_run(strategy, seed, score, **changes)


def judged(tmp_path, metric="test/accuracy", sign=1):
    study = load([tmp_path], metric)
    return verdicts(study.table, study.runs, sign)


def against(found, twin, strategy=None):
    rows = found[found["twin"].str.startswith(twin)]
    if strategy is not None:
        rows = rows[rows["strategy"] == strategy]
    assert len(rows) == 1, rows
    return rows.iloc[0]


def t_interval(differences, family):
    found = stats.ttest_1samp(differences, 0).confidence_interval(1 - 0.05 / family)
    return found.low, found.high


@pytest.mark.parametrize("verdict", GAINS)
def test_a_strategy_is_judged_by_the_paired_interval_to_scratch(verdict, tmp_path, write_run):
    write(write_run, "scratch", SCRATCH)
    write(write_run, "l2_sp", np.add(SCRATCH, GAINS[verdict]).tolist())
    row = against(judged(tmp_path), "scratch")
    assert row["verdict"] == verdict
    assert row["difference"] == pytest.approx(np.mean(GAINS[verdict]))
    assert (row["low"], row["high"]) == pytest.approx(t_interval(GAINS[verdict], 1))
    assert (row["paired_seeds"], row["confidence"], row["reason"]) == (5, pytest.approx(0.95), "")


def test_the_interval_is_widened_for_all_that_are_judged_against_one_kind_of_twin(tmp_path, write_run):
    write(write_run, "scratch", SCRATCH)
    for name, gains in zip(("a", "b", "c"), GAINS.values(), strict=True):
        write(write_run, name, np.add(SCRATCH, gains).tolist())
    found = judged(tmp_path)
    for name, (verdict, gains) in zip(("a", "b", "c"), GAINS.items(), strict=True):
        row = against(found, "scratch", name)
        assert row["verdict"] == verdict
        assert row["confidence"] == pytest.approx(1 - 0.05 / 3)
        assert (row["low"], row["high"]) == pytest.approx(t_interval(gains, 3))


def test_a_difference_that_would_be_enough_alone_is_no_evidence_among_many(tmp_path, write_run):
    gains = [0.02, 0.05, 0.01, 0.06, 0.03]
    assert t_interval(gains, 1)[0] > 0 > t_interval(gains, 20)[0]
    write(write_run, "scratch", SCRATCH)
    for name in range(20):
        write(write_run, f"s{name}", np.add(SCRATCH, gains).tolist())
    assert set(judged(tmp_path).query("twin == 'scratch'")["verdict"]) == {"no evidence"}


@pytest.mark.parametrize(("seeds", "reason"), [(1, "1 common seed, 3 are needed"), (2, "2 common seeds, 3 are needed")])
def test_fewer_than_three_common_seeds_have_a_difference_and_no_verdict(seeds, reason, tmp_path, write_run):
    write(write_run, "scratch", SCRATCH)
    write(write_run, "l2_sp", [0.9, 0.91, 0.92], range(5 - seeds, 8 - seeds))
    row = against(judged(tmp_path), "scratch")
    assert pd.isna(row["verdict"])
    assert pd.isna(row["low"])
    assert pd.isna(row["high"])
    assert row["difference"] == pytest.approx(np.mean(np.subtract([0.9, 0.91, 0.92][:seeds], SCRATCH[5 - seeds :])))
    assert (row["paired_seeds"], row["reason"]) == (seeds, reason)


def test_three_common_seeds_are_enough_and_the_others_count_for_nothing(tmp_path, write_run):
    write(write_run, "scratch", SCRATCH)
    write(write_run, "l2_sp", [0.58, 0.66, 0.61, 0.0, 0.0], [2, 3, 4, 8, 9])
    row = against(judged(tmp_path), "scratch")
    assert row["verdict"] == "transfers"
    assert (row["low"], row["high"]) == pytest.approx(t_interval(np.subtract([0.58, 0.66, 0.61], SCRATCH[2:]), 1))


def test_without_a_common_seed_there_is_no_verdict(tmp_path, write_run):
    write(write_run, "scratch", SCRATCH)
    write(write_run, "l2_sp", SCRATCH, range(10, 15))
    row = against(judged(tmp_path), "scratch")
    assert pd.isna(row["verdict"])
    assert row["reason"] == "no common seed"


def test_without_a_twin_the_remedy_is_told(tmp_path, write_run):
    write(write_run, "l2_sp", SCRATCH)
    found = judged(tmp_path)
    assert list(found["twin"]) == ["scratch", "linear_probe"]
    assert found["verdict"].isna().all()
    assert set(found["reason"]) == {"not run; twins=true adds it to a sweep"}


@pytest.mark.parametrize(
    ("key", "config"),
    [
        ("target.labels", {"target": {"labels": 20, "data": {"root": "${paths.data}"}}}),
        ("trainer.max_epochs", {"trainer": {"max_epochs": 99, "max_steps": -1}}),
        ("trainer.max_steps", {"trainer": {"max_epochs": 10, "max_steps": 5}}),
        ("batch_size", {"batch_size": 8}),
        ("backbone.widths", {"backbone": {"widths": [4, 8]}}),
        ("task.head", {"task": {"head": "mlp"}}),
    ],
)
def test_a_twin_of_another_budget_or_other_data_is_none(key, config, tmp_path, write_run):
    usual = {"trainer": {"max_epochs": 10, "max_steps": -1}, "batch_size": 32, "task": {"head": "linear"}}
    usual["backbone"] = {"widths": [8, 8]}
    write(write_run, "l2_sp", np.add(SCRATCH, 0.1).tolist(), config=usual)
    write(write_run, "scratch", SCRATCH, config={**usual, **config})
    row = against(judged(tmp_path), "scratch")
    assert pd.isna(row["verdict"])
    assert row["reason"] == f"differs in {key}"


def test_of_several_twins_that_of_the_same_budget_is_taken(tmp_path, write_run):
    write(write_run, "l2_sp", np.add(SCRATCH, 0.1).tolist(), config={"trainer": {"max_epochs": 10}})
    write(write_run, "scratch", np.add(SCRATCH, 0.3).tolist(), config={"trainer": {"max_epochs": 90}})
    write(write_run, "scratch", SCRATCH, config={"trainer": {"max_epochs": 10}})
    row = against(judged(tmp_path), "scratch")
    assert (row["verdict"], row["twin"]) == ("transfers", "scratch trainer.max_epochs=10")
    assert row["difference"] == pytest.approx(0.1)


def test_seed_fold_and_learning_rate_are_no_budget(tmp_path, write_run):
    for fold in (0, 1, 2):
        target = {"target": {"folds": 3, "fold": fold}}
        write_run("scratch", 0, 0.5 + fold / 100, config={**target, "optimizer": {"lr": 0.5}})
        write_run("l2_sp", 0, 0.6 + fold / 90, config={**target, "optimizer": {"lr": 0.1}})
    row = against(judged(tmp_path), "scratch")
    assert (row["verdict"], row["paired_seeds"]) == ("transfers", 3)


def test_a_variant_is_paired_with_the_twin_of_its_own_learning_rate(tmp_path, write_run):
    for lr, shift in ((0.01, 0.0), (0.1, 0.2), (1.0, -0.2)):
        config = {"optimizer": {"lr": lr}}
        write(write_run, "scratch", np.add(SCRATCH, shift).tolist(), config=config, source="none")
        write(write_run, "l2_sp", np.add(SCRATCH, shift + 0.05).tolist(), config=config, source="mnist")
    found = judged(tmp_path).query("twin != 'linear_probe'")
    assert len(found) == 3
    assert found["difference"].tolist() == pytest.approx([0.05] * 3)


def test_a_strategy_of_one_learning_rate_is_paired_with_the_twin_of_that_one(tmp_path, write_run):
    for lr, shift in ((0.001, 0.3), (0.01, 0.1), (0.1, 0.0)):
        write(write_run, "scratch", np.add(SCRATCH, shift).tolist(), config={"optimizer": {"lr": lr}})
    write(write_run, "l2_sp", np.add(SCRATCH, 0.05).tolist(), config={"optimizer": {"lr": 0.1}})
    row = against(judged(tmp_path), "scratch")
    assert (row["twin"], row["difference"]) == ("scratch optimizer.lr=0.1", pytest.approx(0.05))


def test_a_net_from_scratch_may_stand_under_another_source(tmp_path, write_run):
    write(write_run, "scratch", SCRATCH, source="none")
    write(write_run, "l2_sp", np.add(SCRATCH, 0.1).tolist(), source="mnist")
    write(write_run, "l2_sp", np.subtract(SCRATCH, 0.1).tolist(), source="svhn")
    found = judged(tmp_path).query("twin == 'scratch'").set_index("source")["verdict"]
    assert found.to_dict() == {"mnist": "transfers", "svhn": "harms"}


def test_under_another_source_too_the_twin_has_the_same_labels(tmp_path, write_run):
    for labels, level in ((5, 0.0), (10, 0.2)):
        config = {"target": {"labels": labels}}
        write(write_run, "scratch", np.add(SCRATCH, level).tolist(), source="none", config=config)
        for strategy, gain in (("l2_sp", 0.1), ("joint", -0.1)):
            scores = np.add(SCRATCH, level + gain).tolist()
            write(write_run, strategy, scores, source="mnist", config=config)
    found = judged(tmp_path).query("twin != 'linear_probe'")
    assert found.groupby("strategy")["verdict"].unique().map(list).to_dict() == {
        "joint": ["harms"],
        "l2_sp": ["transfers"],
    }
    assert len(found) == 4
    assert found["difference"].abs().tolist() == pytest.approx([0.1] * 4)


@pytest.mark.parametrize("key", ["target", "backbone"])
def test_a_net_from_scratch_for_another_target_or_backbone_is_no_twin(key, tmp_path, write_run):
    write(write_run, "scratch", SCRATCH, source="none", **{key: "other"})
    write(write_run, "l2_sp", SCRATCH, source="mnist")
    assert against(judged(tmp_path), "scratch")["reason"].startswith("not run")


def test_the_source_as_it_is_is_source_only_before_a_linear_probe(tmp_path, write_run):
    write(write_run, "linear_probe", np.add(SCRATCH, 0.3).tolist())
    write(write_run, "l2_sp", np.add(SCRATCH, 0.1).tolist())
    row = against(judged(tmp_path), "linear_probe", "l2_sp")
    assert (row["verdict"], row["difference"]) == ("harms", pytest.approx(-0.2))
    write(write_run, "source_only", SCRATCH)
    found = judged(tmp_path)
    assert against(found, "source_only", "l2_sp")["verdict"] == "transfers"
    assert "linear_probe" not in set(found.loc[found["strategy"] == "l2_sp", "twin"])


def test_the_source_as_it_is_is_that_of_the_same_source(tmp_path, write_run):
    write(write_run, "linear_probe", SCRATCH, source="svhn")
    write(write_run, "l2_sp", SCRATCH, source="mnist")
    rows = judged(tmp_path).query("strategy == 'l2_sp' and twin == 'linear_probe'")
    assert rows["verdict"].isna().all()


def test_twins_are_not_judged_against_themselves(tmp_path, write_run):
    for strategy in ("scratch", "linear_probe", "source_only"):
        write(write_run, strategy, SCRATCH)
    found = judged(tmp_path)
    assert {(row["strategy"], row["twin"]) for _, row in found.iterrows()} == {
        ("linear_probe", "scratch"),
        ("source_only", "scratch"),
    }


def test_of_a_metric_that_should_be_low_less_transfers(tmp_path, write_run):
    # the helper's loss is 1 - score, so a higher score is a lower loss
    write(write_run, "scratch", SCRATCH)
    write(write_run, "good", np.add(SCRATCH, GAINS["transfers"]).tolist())
    write(write_run, "bad", np.add(SCRATCH, GAINS["harms"]).tolist())
    found = judged(tmp_path, "test/loss", -1)
    good, bad = (against(found, "scratch", name) for name in ("good", "bad"))
    assert (good["verdict"], bad["verdict"]) == ("transfers", "harms")
    # in the metric's own unit, low below high
    assert (good["low"], good["high"]) == pytest.approx(t_interval(np.negative(GAINS["transfers"]), 2))
    assert good["difference"] == pytest.approx(-np.mean(GAINS["transfers"]))


def test_equal_scores_are_no_evidence(tmp_path, write_run):
    write(write_run, "scratch", SCRATCH)
    write(write_run, "l2_sp", SCRATCH)
    row = against(judged(tmp_path), "scratch")
    assert (row["verdict"], row["difference"]) == ("no evidence", 0)
