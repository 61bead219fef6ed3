import numpy as np
import pandas as pd
import pytest
from scipy import stats

from transferlab.compare.curves import bands, efficiency, timelines
from transferlab.compare.records import load
from transferlab.compare.table import summarise

KEY = ("none", "digits", "convnet", "l2_sp")
ALL = ["stem", "block", "head"]


def row(epoch, loss, trainable=("head",), rate=0.1, **more):
    rates = {"backbone/stem": rate / 4, "backbone/block": rate / 2, "head": rate}
    return {"epoch": epoch, "val/loss": loss, **more, "trainable": list(trainable), "lr": rates}


def of(tmp_path, view):
    study = load([tmp_path], None)
    return view(study.table, study.runs)


def expected(histories, key):
    """By epoch the mean, Student's interval and the number of runs that measured it."""
    rows = [{"epoch": r["epoch"], "value": r.get(key)} for history in histories for r in history]
    frame = pd.DataFrame(rows).dropna().astype({"value": float})
    found = frame.groupby("epoch")["value"].agg(["mean", "sem", "count"])
    half = stats.t.ppf(0.975, found["count"] - 1) * found["sem"]
    return found.assign(low=found["mean"] - half, high=found["mean"] + half)


def check(band, histories, key):
    wanted = expected(histories, key)
    assert band.epochs.tolist() == wanted.index.tolist()
    assert band.runs.tolist() == wanted["count"].tolist()
    for name in ("mean", "low", "high"):
        np.testing.assert_allclose(getattr(band, name), wanted[name], rtol=1e-10)  # NaN where one run measured


def test_bands_are_the_mean_and_students_interval_of_each_epoch(tmp_path, write_run):
    rng = np.random.default_rng(0)
    histories = [[row(e, rng.uniform(), **{"val/accuracy": rng.uniform()}) for e in range(6)] for _ in range(4)]
    for seed, history in enumerate(histories):
        write_run("l2_sp", seed, history=history)
    (found,) = [of(tmp_path, bands)[KEY]]
    assert set(found) == {"val/loss", "val/accuracy"}
    for key in found:
        check(found[key], histories, key)


def test_runs_that_ended_early_count_for_the_epochs_they_have(tmp_path, write_run):
    rng = np.random.default_rng(1)
    histories = [[row(e, rng.uniform()) for e in range(length)] for length in (3, 7, 5, 6)]
    for seed, history in enumerate(histories):
        write_run("l2_sp", seed, history=history)
    band = of(tmp_path, bands)[KEY]["val/loss"]
    check(band, histories, "val/loss")
    assert band.runs.tolist() == [4, 4, 4, 3, 3, 2, 1]
    assert np.isnan(band.low[-1]) and not np.isnan(band.mean[-1])


def test_epochs_are_told_by_their_number_and_not_by_their_place(tmp_path, write_run):
    # one history lacks its first epochs, another every second one
    rng = np.random.default_rng(2)
    histories = [[row(e, rng.uniform()) for e in epochs] for epochs in (range(2, 6), range(0, 6, 2), range(3))]
    for seed, history in enumerate(histories):
        write_run("l2_sp", seed, history=history)
    check(of(tmp_path, bands)[KEY]["val/loss"], histories, "val/loss")


def test_an_epoch_without_a_number_is_not_measured(tmp_path, write_run):
    histories = [
        [row(0, 1.0), row(1, None), row(2, 0.5), row(3, None)],
        [row(0, 0.8), row(1, 0.6), row(2, None), row(3, None)],
        [row(0, 0.9), row(1, 0.7), row(2, 0.4), row(3, None)],
    ]
    for seed, history in enumerate(histories):
        write_run("l2_sp", seed, history=history)
    check(of(tmp_path, bands)[KEY]["val/loss"], histories, "val/loss")


def test_a_key_that_some_runs_measured_is_the_band_of_these(tmp_path, write_run):
    histories = [[row(0, 1.0, **{"diagnostics/cka/head": 0.5})], [row(0, 0.8)]]
    for seed, history in enumerate(histories):
        write_run("l2_sp", seed, history=history)
    band = of(tmp_path, bands)[KEY]["diagnostics/cka/head"]
    assert (band.mean.tolist(), band.runs.tolist()) == ([0.5], [1])


def test_a_key_that_was_never_a_number_has_no_band(tmp_path, write_run):
    write_run("l2_sp", history=[row(0, None, **{"val/accuracy": 0.5})])
    assert set(of(tmp_path, bands)[KEY]) == {"val/accuracy"}


def test_one_run_is_a_curve_without_a_band(tmp_path, write_run):
    write_run("l2_sp", history=[row(0, 1.0), row(1, 0.5)])
    band = of(tmp_path, bands)[KEY]["val/loss"]
    assert band.mean.tolist() == [1.0, 0.5]
    assert np.isnan(band.low).all() and np.isnan(band.high).all()


def test_runs_without_a_history_have_no_curves(tmp_path, write_run):
    write_run("l2_sp")
    assert of(tmp_path, bands) == {}
    assert of(tmp_path, timelines) == {}


def test_a_timeline_has_each_stages_rate_where_it_trains_and_nothing_where_it_is_frozen(tmp_path, write_run):
    history = [row(0, 1.0, ["head"], 0.4), row(1, 1.0, ["block", "head"], 0.2), row(2, 1.0, ALL, 0.1)]
    write_run("l2_sp", history=history)
    found = of(tmp_path, timelines)[KEY]
    assert found.stages == ("stem", "block", "head")
    nan = np.nan
    np.testing.assert_allclose(found.rates, [[nan, nan, 0.025], [nan, 0.1, 0.05], [0.4, 0.2, 0.1]])
    assert found.alike


def test_a_timeline_says_whether_all_runs_trained_the_same_stages(tmp_path, write_run):
    write_run("l2_sp", 0, history=[row(0, 1.0, ["head"]), row(1, 1.0, ALL)])
    write_run("l2_sp", 1, history=[row(0, 0.5, ["head"], 0.3), row(1, 0.5, ALL)])
    assert of(tmp_path, timelines)[KEY].alike
    write_run("l2_sp", 2, history=[row(0, 1.0, ALL), row(1, 1.0, ALL)])
    assert not of(tmp_path, timelines)[KEY].alike


def test_records_that_say_nothing_of_stages_have_no_timeline(tmp_path, write_run):
    write_run("l2_sp", history=[{"epoch": 0, "val/loss": 1.0}, {"epoch": 1, "val/loss": 0.5}])
    assert of(tmp_path, bands)[KEY]["val/loss"].mean.tolist() == [1.0, 0.5]
    assert of(tmp_path, timelines) == {}


def budgets(write_run, labels, strategies=("scratch", "l2_sp")):
    for number, amount in enumerate(labels):
        for strategy in strategies:
            for seed in range(3):
                score = 0.5 + number / 10 + seed / 100 + 0.05 * (strategy == "l2_sp")
                write_run(strategy, seed, score, config={"target": {"labels": amount}})


def curve(tmp_path):
    study = load([tmp_path], None)
    return efficiency(summarise(study.table, "scratch"), study.table, study.runs)


def test_efficiency_is_the_score_at_each_budget_in_order(tmp_path, write_run):
    budgets(write_run, [5, 100, 20, "all"])
    found = curve(tmp_path)
    assert set(found["target"]) == {"digits"}
    for strategy, extra in (("scratch", 0.0), ("l2_sp", 0.05)):
        rows = found[found["strategy"] == strategy]
        assert rows["labels"].tolist() == ["5", "20", "100", "all"]  # by amount, not by text
        assert rows["mean"].tolist() == pytest.approx([0.51 + extra, 0.71 + extra, 0.61 + extra, 0.81 + extra])
        half = stats.t.ppf(0.975, 2) * 0.01 / np.sqrt(3)
        assert (rows["high"] - rows["mean"]).tolist() == pytest.approx([half] * 4)


def test_shares_of_labels_are_in_order_too(tmp_path, write_run):
    budgets(write_run, [0.5, 0.05, 0.1])
    assert curve(tmp_path).groupby("strategy")["labels"].agg(list).to_dict() == {
        "scratch": [0.05, 0.1, 0.5],
        "l2_sp": [0.05, 0.1, 0.5],
    }


def test_one_budget_is_no_efficiency(tmp_path, write_run):
    budgets(write_run, [10])
    assert curve(tmp_path).empty
