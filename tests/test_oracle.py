"""The oracle sees what the test split says of every epoch, and nothing else sees the oracle."""

import json
import random
from dataclasses import replace
from functools import partial
from math import inf, nan
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, log_loss

from transferlab import cli, feeding
from transferlab.module import TransferModule
from transferlab.oracle import Oracle, best, counterpart
from transferlab.record import summary
from transferlab.selection.rules import last, target_validation

EPOCHS = 5
TINY = [
    "source=digits",
    "target=digits",
    "target.labels=10",
    "batch_size=16",
    f"trainer.max_epochs={EPOCHS}",
    "trainer.accelerator=cpu",
    "optimizer.lr=0.1",
    "backbone.widths=[4,8]",
    "backbone.input.shape=[1,8,8]",
    "source.pretrain.max_epochs=1",
    "source.pretrain.target.labels=10",
    "tracker=none",
]
SEVERAL_SETS = ["strategy=gradual_unfreezing", "strategy.freezing.every=1"]
SCORES = ("test/loss", "test/accuracy", "test/class_accuracy", "test/f1")


def run(runs: Path, *words: str) -> tuple[Path, dict]:
    assert cli.main(["train", *TINY, *SEVERAL_SETS, *words, f"paths.runs={runs}"]) == 0
    (file,) = (runs / "default").glob("*/run.json")
    return file.parent, json.loads(file.read_text())


def weights(folder: Path) -> dict[str, dict]:
    return {name: torch.load(folder / name, weights_only=True) for name in ("selected.pt", "last.pt")}


def same(one: dict[str, dict], other: dict[str, dict]) -> bool:
    return all(
        one[file].keys() == other[file].keys() and all(torch.equal(one[file][k], other[file][k]) for k in one[file])
        for file in one
    )


def random_states() -> tuple:
    return torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate()


@pytest.fixture
def spied(monkeypatch) -> dict:
    """What the oracle of a run did: its scores, and around each call the logits by hand, random states and modes."""
    seen: dict = {"rows": [], "by_hand": [], "states": [], "modes": []}
    act = Oracle.on_train_epoch_end

    def watched(oracle, trainer, module):
        def state():
            return random_states(), [part.training for part in module.modules()]

        before = state()
        act(oracle, trainer, module)
        seen["states"].append((before, state()))
        seen["modes"].append(set(before[1]))
        seen["rows"] = oracle.rows
        seen["by_hand"].append(by_hand(trainer, module))

    monkeypatch.setattr(Oracle, "on_train_epoch_end", watched)
    return seen


def by_hand(trainer, module: TransferModule) -> dict[str, float]:
    """All test samples at once through a copy of the net in evaluation mode, scored by scikit-learn."""
    import copy

    data = trainer.datamodule
    net, head = copy.deepcopy(module.backbone).eval(), copy.deepcopy(module.head).eval()
    x, y = data.on_after_batch_transfer((data.sets.test.x, data.sets.test.y), 0)
    with torch.no_grad():
        logits = head(net(x)).double()
    guess = logits.argmax(1).numpy()
    return {
        "test/loss": log_loss(y.numpy(), logits.softmax(1).numpy(), labels=range(10)),
        "test/accuracy": accuracy_score(y.numpy(), guess),
        "test/class_accuracy": balanced_accuracy_score(y.numpy(), guess),
        "test/f1": f1_score(y.numpy(), guess, average="macro"),
    }


def test_every_epochs_scores_are_those_of_an_evaluation_by_hand(tmp_path, spied):
    run(tmp_path, "oracle=true")
    assert [row["epoch"] for row in spied["rows"]] == list(range(EPOCHS))
    for row, expected in zip(spied["rows"], spied["by_hand"], strict=True):
        assert {key: row[key] for key in SCORES} == pytest.approx(expected, abs=1e-6)


def test_an_epoch_scores_to_the_last_bit_what_the_test_at_the_end_gives_its_weights(tmp_path, spied):
    _, record = run(tmp_path, "oracle=true", "seed=5")
    assert record["metrics"]["selected"]["epoch"] < record["metrics"]["last"]["epoch"]  # else one pass is two
    for which in ("selected", "last"):
        told = record["metrics"][which]
        assert {key: spied["rows"][told["epoch"]][key] for key in SCORES} == {key: told[key] for key in SCORES}


def test_the_record_holds_the_best_epoch_with_its_validation(tmp_path, spied):
    _, record = run(tmp_path, "oracle=true")
    oracle = record["metrics"]["oracle"]
    row = spied["rows"][oracle["epoch"]]
    assert row["test/accuracy"] == max(row["test/accuracy"] for row in spied["rows"])
    validated = {k: v for k, v in record["history"][oracle["epoch"]].items() if k.startswith("val/")}
    assert {key.replace("val/", "test/") for key in validated} == set(SCORES)
    assert oracle == {"rule": "oracle", "epoch": row["epoch"], **validated, **{key: row[key] for key in SCORES}}


def test_random_states_and_the_mode_of_every_part_are_as_before(tmp_path, spied):
    run(tmp_path, "oracle=true")
    assert spied["modes"][0] == {True, False}  # frozen stages beside the head: a plain train() would show
    assert all(before == after for before, after in spied["states"])


def test_switched_on_it_changes_nothing_else(tmp_path):
    off_folder, off = run(tmp_path / "off")
    on_folder, on = run(tmp_path / "on", "oracle=true")
    assert off["metrics"]["oracle"] is None
    assert on["metrics"]["oracle"] is not None
    assert same(weights(on_folder), weights(off_folder))
    for key in ("selected", "last"):
        assert on["metrics"][key] == off["metrics"][key]
    for key in ("status", "axes", "history"):
        assert on[key] == off[key], key
    assert on["data"]["fingerprints"] == off["data"]["fingerprints"]
    timed = {"seconds", "fit_seconds", "diagnostics_seconds", "peak_memory_bytes"}
    assert {k: v for k, v in on["cost"].items() if k not in timed} == {
        k: v for k, v in off["cost"].items() if k not in timed
    }
    assert not any(key.startswith("test/") for row in on["history"] for key in row)


def test_test_labels_of_noise_change_neither_weights_nor_selection(tmp_path, monkeypatch):
    folder, record = run(tmp_path / "true", "oracle=true")
    read = feeding.data

    def noisy(config, *rest):
        parts, source = read(config, *rest)
        if config.study == "pretraining":
            return parts, source
        y = torch.randint(0, 10, parts.test.y.shape, generator=torch.Generator().manual_seed(1))
        return replace(parts, test=parts.test.relabelled(y)), source

    monkeypatch.setattr(feeding, "data", noisy)
    other_folder, other = run(tmp_path / "noise", "oracle=true")
    assert other["metrics"]["oracle"]["test/accuracy"] != record["metrics"]["oracle"]["test/accuracy"]
    assert same(weights(other_folder), weights(folder))
    assert other["metrics"]["selected"]["epoch"] == record["metrics"]["selected"]["epoch"]
    assert other["history"] == record["history"]


@pytest.mark.parametrize("metric", ["accuracy", "loss"])
def test_no_epoch_beats_the_oracles(tmp_path, metric):
    words = ["oracle=true", f"selection.metric=val/{metric}"]
    assert (
        cli.main(["train", "-m", *TINY, *words, "strategy=full_finetune,lp_ft", "seed=0,1", f"paths.runs={tmp_path}"])
        == 0
    )
    records = [json.loads(file.read_text()) for file in (tmp_path / "default").glob("*/run.json")]
    assert len(records) == 4
    for record in records:
        oracle, *others = (record["metrics"][which][f"test/{metric}"] for which in ("oracle", "selected", "last"))
        assert all(oracle <= other if metric == "loss" else oracle >= other for other in others)


def test_a_run_taken_up_again_ends_with_the_oracle_of_one_that_was_not_stopped(tmp_path, monkeypatch):
    _, whole = run(tmp_path / "whole", "oracle=true")
    step = TransferModule.training_step

    def broken(module, batch, batch_idx):
        if module.current_epoch == 3 and module.trainer.max_epochs == EPOCHS:
            raise RuntimeError("the machine is on fire")
        return step(module, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(TransferModule, "training_step", broken)
        assert cli.main(["train", *TINY, *SEVERAL_SETS, "oracle=true", f"paths.runs={tmp_path}/again"]) == 1
    _, again = run(tmp_path / "again", "oracle=true")
    assert again["metrics"] == whole["metrics"]
    assert again["cost"]["flops"] == whole["cost"]["flops"]


def test_a_source_is_pretrained_without_the_oracle(tmp_path):
    run(tmp_path, "oracle=true")
    (file,) = (tmp_path / "pretraining").glob("*/run.json")
    record = json.loads(file.read_text())
    assert (record["config"]["oracle"], record["metrics"]["oracle"]) == (False, None)


ROWS = [
    {"epoch": 0, "test/accuracy": 0.5, "test/loss": 0.9},
    {"epoch": 1, "test/accuracy": 0.7, "test/loss": 0.4},
    {"epoch": 2, "test/accuracy": 0.7, "test/loss": 0.4},
    {"epoch": 3, "test/accuracy": 0.6, "test/loss": 0.8},
]


@pytest.mark.parametrize("metric", ["test/accuracy", "test/loss"])
def test_of_equals_the_latest_wins_and_of_losses_the_lowest(metric):
    assert best(ROWS, metric)["epoch"] == 2


def test_of_errors_the_lowest_wins():
    rows = [{"epoch": row["epoch"], "test/mean_squared_error": row["test/loss"]} for row in ROWS]
    assert best(rows, "test/mean_squared_error")["epoch"] == 2


@pytest.mark.parametrize("worst", [nan, inf])
def test_a_loss_that_is_no_number_loses(worst):
    assert best([*ROWS, {"epoch": 4, "test/accuracy": 0.0, "test/loss": worst}], "test/loss")["epoch"] == 2


@pytest.mark.parametrize(
    ("rule", "metric"),
    [
        (partial(target_validation, metric="val/loss"), "test/loss"),
        (partial(target_validation, metric="val/class_accuracy"), "test/class_accuracy"),
        (last, "test/f1"),
        (partial(lambda row, metric: 0.0, metric="source/accuracy"), "test/f1"),
    ],
)
def test_it_looks_at_what_the_rule_looks_at_but_on_the_test_split_and_else_at_the_tasks_metric(rule, metric):
    assert counterpart(rule, "f1") == metric


def test_the_tracker_gets_it_in_the_summary():
    metrics = {"selected": {"epoch": 1}, "last": {"epoch": 2}, "oracle": {"epoch": 3, "test/accuracy": 0.5}}
    told = summary({"schema": 1, "reason": "", "config": {}, "history": [], "metrics": metrics, "cost": {}})
    assert (told["oracle/epoch"], told["oracle/test/accuracy"]) == (3, 0.5)
