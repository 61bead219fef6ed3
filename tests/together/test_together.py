"""`hydra/launcher=vectorized`: every run says what it says alone, and what cannot be batched is trained too."""

import copy
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import torch
from filelock import FileLock
from torch import nn
from torch.nn import functional as F

from records import alike, whole
from transferlab import cli, results
from transferlab.together import training
from transferlab.together.stack import Stack

TOGETHER = "hydra/launcher=vectorized"
WORDS = ["strategy=linear_probe", "source=digits", "target=digits", "backbone.widths=[4,8]", "batch_size=16"]
WORDS += ["source.pretrain.max_epochs=1", "source.pretrain.target.labels=20", "trainer.max_epochs=3"]
WORDS += ["trainer.accelerator=cpu", "tracker=none", "cache=on"]


FORMS = ["linear", "without bias", "of two layers"]


def two_layers() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 3), nn.ReLU(), nn.Linear(3, 4))


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield


def sweep(study: str, *words: str) -> dict[str, dict[str, Any]]:
    assert cli.main(["train", "-m", *WORDS, f"study={study}", *words]) == 0
    return {file.parent.name: whole(file) for file in Path("runs", study).glob("*/run.json")}


@pytest.mark.parametrize(
    "words",
    [
        ("optimizer=sgd", "optimizer.lr=0.01,0.1", "optimizer.weight_decay=0,0.01", "target.labels=7", "oracle=true"),
        (
            "optimizer=adamw",
            "optimizer.lr=0.001,0.1",
            "seed=0,1",
            "task/head=mlp",
            "task.head.widths=[6]",
            "trainer.precision=64-true",
        ),
        ("optimizer=adam", "optimizer.weight_decay=0,0.1", "target.labels=6,9", "seed=0,1", "task/head=cosine"),
    ],
    ids=["sgd", "adamw", "adam"],
)
def test_runs_that_are_trained_together_say_what_each_says_alone(words: tuple[str, ...]) -> None:
    both = [sweep(study, *words, *more) for study, more in (("together", [TOGETHER]), ("alone", []))]
    together, alone = both
    assert together.keys() == alone.keys()
    assert len(together) in (4, 8)
    for name in alone:
        assert together[name]["environment"]["runtime"]["together"] >= 2
        assert "together" not in alone[name]["environment"]["runtime"]
        assert together[name]["cost"]["cache_hits"] == alone[name]["cost"]["cache_hits"] > 0
        alike(together[name], alone[name])


@pytest.mark.parametrize(
    "words",
    [
        # labels are scaled by those of each seed, and nets of different sizes have heads of one
        ("task=regression", "target=diabetes", "selection.metric=val/loss", "seed=0,1"),
        ("task=binary", "target=breast_cancer", "backbone.widths=[16,4],[8,4]", "seed=0"),
        ("task=binary", "target=breast_cancer", "trainer.precision=32-true,64-true", "seed=0,1"),
    ],
    ids=["scale", "nets", "precision"],
)
def test_runs_that_only_look_alike_say_what_each_says_alone(words: tuple[str, ...]) -> None:
    features = 10 if "task=regression" in words else 30
    own = ["strategy=linear_probe", "strategy.start=random", "source=none", "backbone=mlp", "cache=on", "batch_size=8"]
    own += ["input@backbone.input=table", f"backbone.input.shape=[{features}]", "target.labels=24", "tracker=none"]
    own += ["trainer.max_epochs=2", "trainer.accelerator=cpu", "optimizer.lr=0.01,0.1"]
    found = []
    for study, more in (("together", [TOGETHER]), ("alone", [])):
        assert cli.main(["train", "-m", *own, *words, *more, f"study={study}"]) == 0
        found.append({file.parent.name: whole(file) for file in Path("runs", study).glob("*/run.json")})
    assert found[0].keys() == found[1].keys()
    for name, one in found[0].items():
        assert one["environment"]["runtime"]["together"] >= 2
        alike(one, found[1][name])
        kinds = {key: value.dtype for key, value in found[1][name]["selected.pt"].items()}
        assert {key: value.dtype for key, value in one["selected.pt"].items()} == kinds


def test_what_cannot_be_batched_is_trained_alone_and_the_reason_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["strategy=linear_probe,full_finetune", "seed=0,1", "target.labels=6", "trainer.max_epochs=1"]
    found = sweep("s", *words, TOGETHER)
    said = capsys.readouterr().err
    assert "2 runs together: linear_probe" in said
    assert "not together with others, as more than the head trains: full_finetune" in said
    assert sorted(one["environment"]["runtime"].get("together", 1) for one in found.values()) == [1, 1, 2, 2]
    assert {one["status"] for one in found.values()} == {"finished"}
    assert len([line for line in said.splitlines() if "test/accuracy" in line]) == 4
    sweep("s", *words, TOGETHER)
    assert capsys.readouterr().err.count("finished before, skipped") == 4


@pytest.mark.parametrize("head", [(), ("task/head=mlp", "task.head.dropout=0.5")], ids=["together", "alone"])
def test_one_run_that_diverges_ends_alone(head: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    rates = "optimizer.lr=0.01,1e30,0.1"
    assert cli.main(["train", "-m", *WORDS, "study=s", "target.labels=6", rates, *head, TOGETHER]) == 0
    said = capsys.readouterr().err
    found = [json.loads(file.read_text()) for file in Path("runs", "s").glob("*/run.json")]
    states = {one["config"]["optimizer"]["lr"]: one["status"] for one in found}
    assert states == {0.01: "finished", 0.1: "finished", 1e30: "diverged"}
    assert "the training loss became NaN or infinite" in said
    assert ("the head has a Dropout" in said) is bool(head)


@pytest.mark.parametrize(("labels", "size"), [(6, 16), (70, 11)], ids=["at the end of an epoch", "at its last batch"])
def test_a_run_that_diverges_says_what_it_says_alone(labels: int, size: int) -> None:
    found = []
    for study, more in (("together", [TOGETHER]), ("alone", [])):
        words = [f"study={study}", f"target.labels={labels}", f"batch_size={size}", "tracker=wandb"]
        words += ["tracker.mode=offline", "optimizer=sgd", "optimizer.lr=1e30,1e29", *more]
        assert cli.main(["train", "-m", *WORDS, *words]) == 0
        found.append(
            {file.parent.name: json.loads(file.read_text()) for file in Path("runs", study).glob("*/run.json")}
        )
    for name, alone in found[1].items():
        together = found[0][name]
        assert together["status"] == alone["status"] == "diverged"
        assert together["environment"]["runtime"]["together"] == 2
        assert together["tracker"].keys() == alone["tracker"].keys() != set()
        assert len(together["history"]) == len(alone["history"]) == (labels == 6)
        for key in ("reason", "metrics"):
            assert together[key] == alone[key]
        for key in ("samples", "flops"):
            assert together["cost"][key] == alone["cost"][key], key


def test_runs_for_whose_features_there_is_no_room_are_trained_a_part_at_a_time(monkeypatch) -> None:
    words = ["optimizer.lr=0.01,0.1", "seed=0,1,2", "target.labels=6", "trainer.max_epochs=1"]
    whole = sweep("whole", *words, TOGETHER)
    (each,) = {one["data"]["sizes"]["train"] * 8 * 4 for one in whole.values()}  # float32, of 8 channels
    monkeypatch.setattr(training, "_MOST", 2.5 * each)
    parts = sweep("parts", *words, TOGETHER)
    assert sorted(one["environment"]["runtime"]["together"] for one in parts.values()) == [2, 2, 4, 4, 4, 4]
    for name, one in whole.items():
        alike(parts[name], one)


def test_a_run_that_another_process_trains_is_left_to_it(monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["optimizer.lr=0.01,0.02,0.1", "target.labels=6", "trainer.max_epochs=1"]
    first = sweep("s", *words)
    (taken,) = (name for name, one in first.items() if one["config"]["optimizer"]["lr"] == 0.02)
    for file in Path("runs", "s").glob("*/run.json"):
        file.unlink()
    begun, awaited = Event(), Event()

    def hold() -> None:
        with FileLock(Path("runs", "s", taken, results.LOCK)):
            begun.set()
            awaited.wait(60)

    def said_to_wait(*words: str) -> None:
        print(*words, file=sys.stderr)
        awaited.set()

    other = Thread(target=hold)
    other.start()
    begun.wait()
    monkeypatch.setattr(results._log, "info", said_to_wait)
    capsys.readouterr()
    found = sweep("s", *words, TOGETHER)
    other.join()
    said = capsys.readouterr().err
    assert "2 runs together" in said and "waiting for another process" in said
    assert {name: one["environment"]["runtime"].get("together") for name, one in found.items()} == {
        name: None if name == taken else 2 for name in first
    }


def test_where_the_fit_of_all_fails_each_is_trained_alone(monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fails(members: object) -> None:
        raise RuntimeError("no luck")

    words = ["optimizer.lr=0.01,0.1", "target.labels=6", "trainer.max_epochs=1"]
    plain = sweep("plain", *words)
    monkeypatch.setattr(training, "fit", fails)
    found = sweep("s", *words, TOGETHER)
    assert "not together with others, as their fit failed (RuntimeError: no luck)" in capsys.readouterr().err
    for name, one in found.items():
        assert one["status"] == "finished" and "together" not in one["environment"]["runtime"]
        alike(one, plain[name], exactly=True)


def test_what_only_hydra_knows_of_a_job_is_that_jobs() -> None:
    found = sweep("s", "seed=${hydra:job.num}", "optimizer.lr=0.01,0.1", "target.labels=6", TOGETHER)
    assert {one["config"]["seed"]: one["config"]["optimizer"]["lr"] for one in found.values()} == {0: 0.01, 1: 0.1}
    assert {one["environment"]["runtime"]["together"] for one in found.values()} == {2}


def test_each_run_has_a_tracker_run_of_its_own() -> None:
    words = ["optimizer.lr=0.01,0.1", "target.labels=6", "tracker=wandb", "tracker.mode=offline"]
    found = sweep("s", *words, TOGETHER)
    assert {one["environment"]["runtime"]["together"] for one in found.values()} == {2}
    assert len({one["tracker"]["run_id"] for one in found.values()}) == 2
    for file in Path("runs", "s").glob("*/run.json"):
        folder = file.parent / json.loads(file.read_text())["tracker"]["folder"]
        assert list(folder.glob("*.wandb"))


@pytest.mark.parametrize("form", [lambda: nn.Linear(5, 4), lambda: nn.Linear(5, 4, bias=False), two_layers], ids=FORMS)
def test_heads_that_see_the_same_batch_take_the_steps_that_each_takes_by_itself(form) -> None:
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 8, 5, generator=draw), torch.randint(0, 4, (6, 8), generator=draw)
    heads = [form() for _ in range(6)]
    alone = copy.deepcopy(heads)
    groups = [{"lr": 0.1, "weight_decay": 0.01 * number, "momentum": 0.9} for number in range(6)]
    stack = Stack(heads, F.cross_entropy, torch.optim.SGD, groups)
    for _ in range(3):
        found = stack.step(x, y, [0.1] * 6)
    for number, head in enumerate(alone):
        own = Stack([head], F.cross_entropy, torch.optim.SGD, groups[number : number + 1])
        for _ in range(3):
            loss = own.step(x[number // 3][None], y[number][None], [0.1])
        torch.testing.assert_close(found[number], loss[0])
        stack.hand_out(number)
        own.hand_out(0)
        torch.testing.assert_close(heads[number].state_dict(), head.state_dict())


def test_a_stack_takes_the_steps_of_torchs_optimisers() -> None:
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(3, 8, 5, generator=draw), torch.randint(0, 4, (3, 8), generator=draw)
    for kind, more in (
        (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
        (torch.optim.SGD, {"maximize": True}),
        (torch.optim.Adam, {"amsgrad": True}),
        (torch.optim.AdamW, {}),
    ):
        alone = [torch.nn.Linear(5, 4).double() for _ in range(3)]
        own = [kind(head.parameters(), lr=0.1 * (n + 1), weight_decay=0.1 * n, **more) for n, head in enumerate(alone)]
        heads = [torch.nn.Linear(5, 4).double() for _ in range(3)]
        for head, other in zip(heads, alone, strict=True):
            head.load_state_dict(other.state_dict())
        stack = Stack(heads, F.cross_entropy, kind, [one.param_groups[0] for one in own])
        for step in range(6):
            rates = [0.1 * (n + 1) / (step + 1) for n in range(3)]
            losses = stack.step(x.double(), y, rates)
            for number, (head, optimizer) in enumerate(zip(alone, own, strict=True)):
                optimizer.param_groups[0]["lr"] = rates[number]
                optimizer.zero_grad()
                loss = F.cross_entropy(head(x[number].double()), y[number])
                loss.backward()
                optimizer.step()
                torch.testing.assert_close(losses[number], loss.detach())
        for number, head in enumerate(heads):
            stack.hand_out(number)
            torch.testing.assert_close(head.state_dict(), alone[number].state_dict(), rtol=1e-12, atol=1e-12)
