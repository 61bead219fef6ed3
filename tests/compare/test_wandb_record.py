import json

import pytest

from transferlab.compare.wandb_record import epochs, is_ours, rebuilt

AXES = {"source": "mnist", "target": "usps", "strategy": "l2_sp", "backbone": "mlp"}
CONFIG = {"axes": AXES, "study": "a/study", "seed": 3, "optimizer": {"lr": 0.1}}


def record(state="finished", **summary):
    return rebuilt("a-study-0123456789", state, "https://w/e/p/runs/a-study-0123456789", CONFIG, summary)


def test_the_run_id_is_what_follows_the_study():
    found = record(status="finished")
    assert (found["run_id"], found["study"]) == ("0123456789", "a/study")
    assert found["axes"] == {**AXES, "seed": 3}
    assert found["tracker"]["run_id"] == "a-study-0123456789"


def test_the_config_is_the_one_written_down_and_wandbs_own_where_there_is_none():
    written = {**CONFIG, "strategy": {"losses": {}, "lr_decay": 1.0}}
    assert json.dumps(record(config_json=json.dumps(written))["config"]) == json.dumps(written)
    assert record()["config"] == CONFIG


def test_scores_and_costs_stand_under_their_prefix_and_what_else_is_logged_does_not_count():
    found = record(
        status="finished",
        **{"selected/rule": "last", "selected/test/accuracy": 0.5, "last/epoch": 1, "cost/seconds": 2.5},
        **{"val/accuracy": 0.9, "_runtime": 7, "selectedness": 1},
    )
    assert found["metrics"] == {
        "selected": {"rule": "last", "test/accuracy": 0.5},
        "last": {"epoch": 1},
        "oracle": None,
    }
    assert found["cost"] == {"seconds": 2.5}


@pytest.mark.parametrize("state", ["crashed", "killed", "running", "preempted", "finished"])
def test_a_run_that_told_no_status_was_interrupted_whatever_wandb_says(state):
    found = record(state)
    assert (found["status"], found["reason"]) == ("interrupted", f"W&B says {state}")


def test_a_run_that_wandb_saw_fail_failed():
    assert record("failed")["status"] == "failed"


@pytest.mark.parametrize("status", ["finished", "diverged", "failed", "interrupted"])
def test_what_a_run_said_of_itself_counts_before_what_wandb_says(status):
    found = record("crashed", status=status, reason="because")
    assert (found["status"], found["reason"]) == (status, "because")


def test_what_is_no_number_is_null_as_on_disk():
    found = record(
        status="finished",
        forgetting={"before": float("nan"), "after": 0.5},
        rules={"bnm": {"score": "NaN", "collapsed": False, "test/accuracy": 0.5}},
        **{"selected/a": "NaN", "cost/b": "Infinity"},
    )
    assert found["metrics"]["selected"] == {"a": None}
    assert found["cost"] == {"b": None}
    assert found["forgetting"] == {"before": None, "after": 0.5}
    assert found["rules"] == {"bnm": {"score": None, "collapsed": False, "test/accuracy": 0.5}}
    (row,) = epochs([{"_step": 0, "epoch": 0, "val/loss": "NaN", "trainer/global_step": 4}], [])
    assert row["val/loss"] is None


@pytest.mark.parametrize("missing", ["axes", "study", "seed"])
def test_a_config_without_axes_study_or_seed_is_not_ours(missing):
    assert is_ours(CONFIG)
    assert not is_ours({key: value for key, value in CONFIG.items() if key != missing})
    assert not is_ours({**CONFIG, "axes": {"source": "mnist"}})
    assert not is_ours({**CONFIG, "axes": "all"})


def test_rows_of_one_training_step_are_one_epoch_and_of_two_the_later_counts():
    # the second epoch was logged, the process killed before its checkpoint, and the epoch done again
    rows = [
        {"_step": 4, "epoch": 1, "val/accuracy": 0.7, "trainer/global_step": 7},
        {"_step": 0, "epoch": 0, "train/task_loss": 2.0, "trainer/global_step": 3},
        {"_step": 1, "epoch": 0, "val/accuracy": 0.1, "trainer/global_step": 3},
        {"_step": 2, "trainable/head": 1, "lr/head": 0.1, "trainer/global_step": 3},
        {"_step": 3, "epoch": 1, "val/accuracy": 0.2, "trainer/global_step": 7},
    ]
    assert epochs(rows, ["head"]) == [
        {"epoch": 0, "train/task_loss": 2.0, "val/accuracy": 0.1, "trainable": ["head"], "lr": {"head": 0.1}},
        {"epoch": 1, "val/accuracy": 0.7, "trainable": [], "lr": {}},
    ]


def test_stages_and_rates_stand_in_the_order_of_the_network_not_of_the_alphabet():
    flags = {
        "trainable/head": 1,
        "trainable/layer1": 1,
        "trainable/stem": 1,
        "trainable/block": 0,
        "trainable/share": 0.5,
    }
    rates = {"lr/backbone/block": 3, "lr/backbone/layer1": 2, "lr/backbone/stem": 1, "lr/head": 4}
    groups = ["backbone/stem", "backbone/layer1", "backbone/block", "head"]
    (row,) = epochs([{"_step": 0, "epoch": 0, "trainer/global_step": 1, **flags, **rates}], groups)
    assert row["trainable"] == ["stem", "layer1", "head"]
    assert list(row["lr"].items()) == list(zip(groups, (1, 2, 3, 4), strict=True))
