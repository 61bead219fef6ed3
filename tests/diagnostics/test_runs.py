"""Diagnostics in real runs: what is written, that it changes nothing, and that a killed run says the same."""

import json
import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

import transferlab.train  # noqa: F401  (imported before the processes fork, once for all)
from transferlab import cli
from transferlab.backbones.base import Backbone
from transferlab.module import TransferModule

TINY = [
    "source=digits",
    "target=digits",
    "target.labels=6",
    "batch_size=16",
    "trainer.max_epochs=4",
    "trainer.accelerator=cpu",
    "backbone.widths=[4,8]",
    "backbone.input.shape=[1,8,8]",
    "source.pretrain.max_epochs=2",
    "source.pretrain.target.labels=20",
    "tracker=none",
]
ALL = ["diagnostics=all", "diagnostics.share=1"]
STAGES = ("block1", "block2")


def train(runs: Path, study: str, *words: str) -> int:
    return cli.main(["train", *TINY, *words, f"study={study}", f"paths.runs={runs}"])


def folder(runs: Path, study: str) -> Path:
    (file,) = (runs / study).glob("*/run.json")
    return file.parent


def record(runs: Path, study: str) -> dict:
    return json.loads((folder(runs, study) / "run.json").read_text())


def without_diagnostics(history: list[dict]) -> list[dict]:
    return [{key: value for key, value in row.items() if not key.startswith("diagnostics/")} for row in history]


def said(row: dict) -> dict:
    return {key.removeprefix("diagnostics/"): value for key, value in row.items() if key.startswith("diagnostics/")}


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["full_finetune", "gradual_unfreezing", "l2_sp", "joint"])
def test_diagnostics_change_no_weight_and_no_other_number(strategy: str, tmp_path: Path) -> None:
    picture = "diagnostics.saliency.samples=[0]"
    assert train(tmp_path, "all", f"strategy={strategy}", *ALL, picture) == 0
    assert train(tmp_path, "none", f"strategy={strategy}", "diagnostics=none") == 0
    looked, blind = record(tmp_path, "all"), record(tmp_path, "none")
    assert any(said(row) for row in looked["history"])
    assert without_diagnostics(looked["history"]) == blind["history"]
    assert looked["metrics"] == blind["metrics"]
    assert looked["data"] == blind["data"]
    for file in ("selected.pt", "last.pt"):
        ours, theirs = (torch.load(folder(tmp_path, study) / file, weights_only=True) for study in ("all", "none"))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_a_run_says_what_each_diagnostic_says(tmp_path: Path) -> None:
    assert train(tmp_path, "l2", "strategy=l2_sp", *ALL, "diagnostics.saliency.samples=[3,0]") == 0
    done = record(tmp_path, "l2")
    first, last = said(done["history"][0]), said(done["history"][-1])
    parametric = {f"{name}/{stage}" for name in ("drift", "relative_drift") for stage in (*STAGES, "head")}
    aligned = {f"cka/{stage}" for stage in (*STAGES, "pool")}
    others = {"feature_rank", "gradient_cosine/l2_sp", "calibration_error", "samples"}
    assert set(first) == set(last) == parametric | aligned | others
    assert 0 < first["drift/block1"] < last["drift/block1"]
    assert 1 > first["cka/pool"] > last["cka/pool"] > 0
    assert 1 <= last["feature_rank"] <= 8
    # the penalty's gradient is along the way that the task's has gone
    assert -1 <= last["gradient_cosine/l2_sp"] < 0
    assert done["cost"]["diagnostics_seconds"] > 0
    assert done["saliency"] == "saliency.png"
    assert (folder(tmp_path, "l2") / "saliency.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_drift_is_that_of_the_weights_on_disk(tmp_path: Path) -> None:
    assert train(tmp_path, "full", "strategy=full_finetune") == 0
    (source,) = (tmp_path / "pretraining").glob("*/selected.pt")
    start, end = torch.load(source), torch.load(folder(tmp_path, "full") / "last.pt")
    row = said(record(tmp_path, "full")["history"][-1])
    for stage in STAGES:
        names = [name for name in start if f".{stage}." in name and name.endswith(("weight", "bias"))]
        moved = np.concatenate([(end[name] - start[name]).numpy().ravel() for name in names])
        origin = np.concatenate([start[name].numpy().ravel() for name in names])
        assert row[f"drift/{stage}"] == pytest.approx(np.linalg.norm(moved), rel=1e-5)
        assert row[f"relative_drift/{stage}"] == pytest.approx(np.linalg.norm(moved) / np.linalg.norm(origin), rel=1e-5)


def test_a_frozen_backbone_neither_drifts_nor_forgets_nor_leaves_its_source(tmp_path: Path) -> None:
    assert train(tmp_path, "probe", "strategy=linear_probe", *ALL) == 0
    done = record(tmp_path, "probe")
    last = said(done["history"][-1])
    assert last["drift/block1"] == last["drift/block2"] == 0 < last["drift/head"]
    assert last["cka/block1"] == pytest.approx(1, abs=1e-9)
    assert not any(key.startswith("gradient_cosine") for key in last)
    assert done["forgetting"]["source_accuracy_after"] == done["forgetting"]["source_accuracy_before"]
    assert 0 < done["forgetting"]["samples"] <= 500


@pytest.mark.slow
def test_the_exam_is_the_sources_own_test_split(tmp_path: Path) -> None:
    words = ["source.pretrain.target.test=0.1", "target.test=0.1", "trainer.max_epochs=20", *ALL]
    words += ["source.pretrain.target.labels=all", "source.pretrain.max_epochs=10"]
    assert train(tmp_path, "exam", "strategy=full_finetune", *words) == 0
    forgotten = record(tmp_path, "exam")["forgetting"]
    (source,) = (tmp_path / "pretraining").glob("*/run.json")
    own = json.loads(source.read_text())
    assert forgotten["samples"] == own["data"]["sizes"]["test"] < 500
    assert forgotten["source_accuracy_before"] == pytest.approx(own["metrics"]["selected"]["test/accuracy"], abs=1e-6)
    assert forgotten["source_accuracy_after"] != forgotten["source_accuracy_before"]


def test_a_run_from_random_weights_has_no_source_to_compare_with(tmp_path: Path) -> None:
    assert train(tmp_path, "scratch", "strategy=scratch", *ALL) == 0
    done = record(tmp_path, "scratch")
    last = said(done["history"][-1])
    assert "feature_rank" in last
    assert not any(key.startswith("cka") for key in last)
    assert done["forgetting"] is None


def test_diagnostics_are_part_of_a_run_but_not_of_its_sources(tmp_path: Path) -> None:
    for choice in ("none", "default", "all"):
        assert train(tmp_path, choice, "strategy=linear_probe", f"diagnostics={choice}") == 0
    assert len({record(tmp_path, choice)["run_id"] for choice in ("none", "default", "all")}) == 3
    (source,) = (tmp_path / "pretraining").glob("*/run.json")
    own = json.loads(source.read_text())
    assert "diagnostics" not in own["config"]
    assert not any(said(row) for row in own["history"])
    assert not any(said(row) for row in record(tmp_path, "none")["history"])


def test_what_diagnostics_send_through_the_net_stays_below_their_share(tmp_path: Path, monkeypatch) -> None:
    sent: list[int] = []
    observe = Backbone.observe
    monkeypatch.setattr(Backbone, "observe", lambda net, x, *rest: sent.append(len(x)) or observe(net, x, *rest))

    def forward(study: str, *words: str) -> int:
        sent.clear()
        assert train(tmp_path, study, "strategy=l2_sp", *words) == 0
        return sum(sent)

    share = ["diagnostics=all", "diagnostics.share=0.2"]
    forward("first", *share)  # pretrains the source and sets its exam
    looked = forward("second", *share) - forward("none", "diagnostics=none")
    done = record(tmp_path, "second")
    assert said(done["history"][0])["samples"] >= 4
    assert 0 < looked <= 0.2 * 3 * done["cost"]["samples"]


def test_a_switch_on_the_command_line_is_one_diagnostic(tmp_path: Path) -> None:
    words = ["strategy=linear_probe", "diagnostics=none", "diagnostics.feature_rank=true", "diagnostics.share=1"]
    assert train(tmp_path, "one", *words) == 0
    assert set(said(record(tmp_path, "one")["history"][-1])) == {"feature_rank", "samples"}


def test_diagnostics_never_read_the_targets_test_labels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {"x_train": rng.normal(size=(60, 4)), "y_train": np.arange(60) % 3, "x_test": rng.normal(size=(30, 4))}
    words = ["target=npz", "target.labels=all", "source=none", "backbone=mlp", "backbone.input.shape=[4]", *ALL]
    own = [word for word in TINY if not word.startswith(("source", "target", "backbone.input"))]
    histories = []
    for study, labels in (("honest", np.arange(30) % 3), ("noise", rng.integers(0, 3, 30))):
        np.savez(tmp_path / "arrays.npz", **arrays, y_test=labels)
        command = ["train", *own, *words, f"target.data.path={tmp_path}/arrays.npz", "strategy=scratch"]
        assert cli.main([*command, f"study={study}", f"paths.runs={tmp_path}"]) == 0
        histories.append(record(tmp_path, study)["history"])
    assert said(histories[0][-1])
    assert histories[0] == histories[1]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["diagnostics.saliency.samples=[99999]"], "there is no test sample 99999"),
        (["diagnostics.saliency.samples=[0]", "backbone=mlp"], "set diagnostics.saliency.samples=[]"),
        (["diagnostics.share=0"], "diagnostics.share=0"),
        (["diagnostics.probe=3"], "diagnostics.probe=3"),
        (["diagnostics.cka=maybe"], "true or false"),
        (["diagnostics.ckaa=true"], "did you mean 'cka'"),
    ],
)
def test_a_wrong_setting_is_a_sentence_before_anything_trains(words, sentence, tmp_path, capsys) -> None:
    assert train(tmp_path, "wrong", *words) == 1
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "pretraining").exists()


def _killed(words: list[str], kill_at: int | None) -> None:
    torch.set_num_threads(1)
    step = TransferModule.training_step

    def deadly(module, batch, batch_idx):
        if module.trainer.max_epochs == 4 and module.global_step == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(module, batch, batch_idx)

    TransferModule.training_step = deadly
    os._exit(cli.main(words))


def in_a_process(words: list[str], kill_at: int | None) -> int | None:
    child = multiprocessing.get_context("fork").Process(target=_killed, args=(words, kill_at))
    child.start()
    child.join()
    return child.exitcode


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["l2_sp", "joint"])
def test_a_killed_run_ends_with_the_same_diagnostics(strategy: str, tmp_path: Path) -> None:
    words = ["train", *TINY, *ALL, f"strategy={strategy}", f"paths.runs={tmp_path}"]
    assert in_a_process([*words, "study=whole"], None) == 0
    assert in_a_process([*words, "study=killed"], 9) == -signal.SIGKILL  # in the third of four epochs of four steps
    assert in_a_process([*words, "study=killed"], None) == 0
    whole, killed = record(tmp_path, "whole"), record(tmp_path, "killed")
    assert said(whole["history"][-1])
    assert killed["history"] == whole["history"]
    assert killed["forgetting"] == whole["forgetting"]
