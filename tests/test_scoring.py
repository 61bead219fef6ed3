"""The report on the test split: made of the selected weights, from the pass that is made anyway."""

import json
from pathlib import Path

import numpy as np
import pytest

from transferlab import cli
from transferlab.module import TransferModule

SAMPLES = 24
TINY = ["source=none", "strategy=scratch", "batch_size=16", "trainer.max_epochs=2", "tracker=none", "optimizer.lr=0.05"]
TABLE = ["backbone=mlp", "backbone.widths=[6]", "input@backbone.input=table", "backbone.input.shape=[4]"]


@pytest.fixture
def table(tmp_path: Path) -> str:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(SAMPLES * 3, 4)).astype("float32")
    y = (x[:, 0] > 0).astype("int64")
    cut = SAMPLES * 2
    classes = np.array(["no", "yes"])
    np.savez(tmp_path / "t.npz", x_train=x[:cut], y_train=y[:cut], x_test=x[cut:], y_test=y[cut:], classes=classes)
    return f"target.data.path={tmp_path / 't.npz'}"


def run(runs: Path, *words: str) -> dict:
    assert cli.main(["train", *TINY, *words, f"paths.runs={runs}"]) == 0
    (file,) = (runs / "default").glob("*/run.json")
    return json.loads(file.read_text())


@pytest.mark.parametrize("task", ["classification", "binary", "regression"])
def test_every_metric_of_the_selected_epoch_lies_in_its_interval(task, table, tmp_path):
    record = run(tmp_path, "target=npz", table, *TABLE, f"task={task}")
    selected, report = record["metrics"]["selected"], record["report"]
    assert report["samples"] == SAMPLES
    assert set(report["intervals"]) == {name for name in selected if name.startswith("test/")} - {"test/loss"}
    for name, (low, high) in report["intervals"].items():
        assert low <= selected[name] <= high, name


def test_the_report_is_of_the_selected_weights_and_needs_no_pass_of_its_own(table, tmp_path, monkeypatch):
    tested = []
    step = TransferModule.test_step
    monkeypatch.setattr(
        TransferModule, "test_step", lambda module, *batch: (tested.append(batch), step(module, *batch))[1]
    )
    # the rate is such that the last epoch is worse than the first
    words = ["trainer.max_epochs=6", "optimizer.lr=30", "scheduler=constant", "task.metric=loss"]
    record = run(tmp_path, "target=npz", table, *TABLE, *words)
    selected, last = record["metrics"]["selected"], record["metrics"]["last"]
    assert selected["epoch"] != last["epoch"], "the test needs an epoch that is selected before the last"
    assert len(tested) == 2  # one batch each
    confusion = np.array(record["report"]["confusion"])
    assert np.trace(confusion) / SAMPLES == pytest.approx(selected["test/accuracy"])


def test_the_report_names_no_class_that_the_record_does_not(table, tmp_path):
    record = run(tmp_path, "target=npz", table, *TABLE)
    classes = record["data"]["classes"]
    assert classes == ["no", "yes"]
    assert all(len(values) == len(classes) for values in record["report"]["classes"].values())
    assert np.array(record["report"]["confusion"]).sum(1).tolist() == record["report"]["classes"]["samples"]


def test_reconstruction_reports_its_error(tmp_path):
    words = ["target=digits", "target.labels=4", "task=reconstruction", "task.head.widths=[4]"]
    record = run(tmp_path, *words, "backbone.input.shape=[1,8,8]", "backbone.widths=[4]")
    low, high = record["report"]["intervals"]["test/mean_squared_error"]
    assert low < record["metrics"]["selected"]["test/mean_squared_error"] < high


def test_a_run_that_fails_has_no_report(table, tmp_path, capsys):
    words = ["target=npz", table, *TABLE, "task=multilabel"]
    assert cli.main(["train", *TINY, *words, f"paths.runs={tmp_path}"]) == 1
    assert "choose task=classification" in capsys.readouterr().err
    (file,) = (tmp_path / "default").glob("*/run.json")
    assert json.loads(file.read_text())["report"] is None


def test_the_tracker_is_told_nothing_of_the_report(table, tmp_path):
    from transferlab.record import summary

    told = summary(run(tmp_path, "target=npz", table, *TABLE))
    assert not [key for key in told if "report" in key or "interval" in key or "confusion" in key]


SOURCE = ["source=digits", "source.pretrain.max_epochs=1", "source.pretrain.target.labels=15"]
DIGITS = [
    "target=digits",
    "target.labels=6",
    "backbone.input.shape=[1,8,8]",
    "backbone.widths=[4]",
    "oracle=true",
    "diagnostics=all",
    "diagnostics.share=1",
    "task.head.widths=[4]",
]


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["linear_probe", "l2_sp", "joint", "partial"])
@pytest.mark.parametrize("task", ["regression", "reconstruction", "classification"])
def test_strategies_oracle_and_diagnostics_work_with_the_task(task, strategy, tmp_path):
    words = [f"task={task}", f"task@source.pretrain.task={task}", f"strategy={strategy}"]
    words += ["task/head=mlp"] if task != "reconstruction" else []
    record = run(tmp_path, *words, *SOURCE, *DIGITS)
    assert record["status"] == "finished"
    assert record["metrics"]["oracle"]["rule"] == "oracle"
    assert (record["forgetting"] is not None) == (task == "classification")
    assert record["report"]["samples"] == record["data"]["sizes"]["test"]


@pytest.mark.slow
def test_a_backbone_pretrained_by_reconstruction_is_fine_tuned_for_classes(tmp_path):
    words = ["task@source.pretrain.task=reconstruction", "source.pretrain.task.head.widths=[4]", "task/head=mlp"]
    record = run(tmp_path, *words, "strategy=full_finetune", *SOURCE, *DIGITS)
    assert record["data"]["source_weights"] is not None
    assert record["forgetting"] is None  # its source has no classes to forget


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["linear_probe", "l2_sp", "joint", "partial"])
def test_items_rated_by_known_users_are_transferred_to(strategy, tmp_path):
    rng = np.random.default_rng(0)
    for name, first in (("books", 0), ("films", 100)):
        pairs = rng.integers([8, 10], size=(120, 2))
        lines = [f"u{user},i{item + first},{1 + (user * item) % 5}" for user, item in pairs]
        (tmp_path / f"{name}.csv").write_text("\n".join(["user,item,rating", *lines]))
    words = ["task=rating", "backbone=embeddings", "backbone.input.users=8", "backbone.input.items=20"]
    words += [
        "source=ratings",
        f"source.pretrain.target.data.path={tmp_path}/books.csv",
        "source.pretrain.max_epochs=1",
    ]
    words += ["target=ratings", f"target.data.path={tmp_path}/films.csv", f"target.data.before=[{tmp_path}/books.csv]"]
    record = run(tmp_path / "runs", *words, f"strategy={strategy}", "diagnostics=all", "diagnostics.share=1")
    low, high = record["report"]["intervals"]["test/root_mean_squared_error"]
    assert low < record["metrics"]["selected"]["test/root_mean_squared_error"] < high
    assert record["data"]["classes"] == ["rating"]
