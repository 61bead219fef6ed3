"""Heads that are solved for: scikit-learn's optimum, the closed form, and runs that say what was chosen."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn import functional as F

from records import alike, record
from transferlab import cli
from transferlab.errors import InputError
from transferlab.solver import LBFGS
from transferlab.tasks.regression import InUnit, Regression


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield


def problem(samples: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(samples, 5, generator=draw, dtype=torch.float64) * torch.tensor([1.0, 3.0, 0.1, 1.0, 1.0])
    return x, (x[:, :3].argmax(1) + torch.randint(0, 2, (samples,), generator=draw)) % 3


@pytest.mark.parametrize("penalty", [1.0, 0.01])
def test_the_optimum_is_that_of_scikit_learn(penalty: float) -> None:
    x, y = problem()
    head = nn.Linear(5, 3).double()
    asked = LBFGS([penalty], 1000, 1e-9).solve(head, head.weight, F.cross_entropy, x, y, penalty)
    theirs = LogisticRegression(C=1 / (penalty * len(y)), tol=1e-10, max_iter=10000).fit(x.numpy(), y.numpy())
    assert asked > 3
    np.testing.assert_allclose(head.weight.detach().numpy(), theirs.coef_, atol=1e-5)
    found = head(x).softmax(1).detach().numpy()
    np.testing.assert_allclose(found, theirs.predict_proba(x.numpy()), atol=1e-5)


def test_of_squared_errors_it_is_the_closed_form() -> None:
    x, y = problem()[0], problem()[0] @ torch.arange(5.0, dtype=torch.float64) + 2
    head = nn.Linear(5, 1).double()
    LBFGS([0.1], 1000, 1e-10).solve(head, head.weight, lambda out, y: F.mse_loss(out[:, 0], y), x, y, 0.1)
    centred, offset = x - x.mean(0), y - y.mean()
    # half the penalty beside the mean of squares: (2/N X'X + penalty I) w = 2/N X'y
    wanted = torch.linalg.solve(2 / len(y) * centred.T @ centred + 0.1 * torch.eye(5), 2 / len(y) * centred.T @ offset)
    torch.testing.assert_close(head.weight[0], wanted, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(head.bias[0], y.mean() - x.mean(0) @ wanted, atol=1e-6, rtol=1e-6)


def test_penalties_go_from_the_largest_to_the_smallest() -> None:
    assert LBFGS([0.1, 10, 1], 5, 1e-3).path == [10, 1, 0.1]
    with pytest.raises(InputError, match="at least one"):
        LBFGS([], 5, 1e-3)


def run(study: str, *words: str, code: int = 0) -> dict[str, Any]:
    own = ["strategy=linear_probe_lbfgs", "source=digits", "source.pretrain.max_epochs=1", "target=digits"]
    own += ["source.pretrain.target.labels=20", "target.labels=10", "backbone.widths=[4,8]", "tracker=none"]
    own += ["trainer.accelerator=cpu", "strategy.solver.penalties=[1,0.1,0.01,0.001]", f"study={study}"]
    assert cli.main(["train", *own, *words]) == code
    return record(study) if code == 0 else {}


def test_a_run_has_a_row_for_each_penalty_and_selects_on_validation() -> None:
    found = run("s")
    rows = found["history"]
    assert [row["train/penalty"] for row in rows] == [1, 0.1, 0.01, 0.001]
    losses = [row["train/task_loss"] for row in rows]
    assert losses == sorted(losses, reverse=True)
    best = max(rows, key=lambda row: (row["val/accuracy"], row["epoch"]))
    assert found["metrics"]["selected"]["epoch"] == best["epoch"]
    assert found["metrics"]["last"]["epoch"] == 3
    changed = {key for key, value in found["last.pt"].items() if not torch.equal(found["selected.pt"][key], value)}
    assert changed <= {"head.weight", "head.bias"}
    assert found["cost"]["samples"] % found["data"]["sizes"]["train"] == 0
    assert found["report"]["samples"] == found["data"]["sizes"]["test"]


def test_from_wherever_the_head_starts_it_ends_alike() -> None:
    x, y = problem()
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        head = nn.Linear(5, 3).double()
        LBFGS([0.1], 1000, 1e-9).solve(head, head.weight, F.cross_entropy, x, y, 0.1)
        found.append(head(x).softmax(1))
    torch.testing.assert_close(*found, atol=1e-6, rtol=0)


def test_in_regression_it_is_the_closed_form_of_standardised_targets() -> None:
    x = problem()[0]
    y = 100 + 7 * (x @ torch.arange(5.0, dtype=torch.float64))
    task = Regression(nn.Linear, "r2", "squared")
    task.fit(y, 1)
    mean, deviation = y.mean()[None], y.std(correction=0)[None]
    head = InUnit(nn.Linear(5, 1), mean, deviation).double()
    assert isinstance(head.head, nn.Linear)
    LBFGS([0.1], 1000, 1e-10).solve(head, head.head.weight, task.loss, x, y, 0.1)
    centred, wanted = x - x.mean(0), (y - mean) / deviation
    weight = torch.linalg.solve(2 / len(y) * centred.T @ centred + 0.1 * torch.eye(5), 2 / len(y) * centred.T @ wanted)
    torch.testing.assert_close(head.head.weight[0], weight, atol=1e-5, rtol=1e-5)
    outputs = mean + deviation * (wanted.mean() + centred @ weight)
    torch.testing.assert_close(head(x)[:, 0], outputs, atol=1e-4, rtol=1e-5)


def test_a_run_solves_for_a_regression_too() -> None:
    own = ["strategy=linear_probe_lbfgs", "source=none", "strategy.start=random", "target=diabetes", "task=regression"]
    own += ["backbone=mlp", "input@backbone.input=table", "backbone.input.shape=[10]", "tracker=none", "study=s"]
    assert cli.main(["train", *own, "trainer.accelerator=cpu", "strategy.solver.penalties=[1,0.001]"]) == 0
    scores = record("s")["metrics"]
    assert scores["last"]["test/r2"] > 0.2


def test_the_cache_the_batches_and_the_rate_do_not_matter() -> None:
    first = run("on", "cache=on")
    files = set(Path("cache").rglob("*"))
    second = run("off", "cache=off", "batch_size=7", "optimizer.lr=3")
    assert set(Path("cache").rglob("*")) == files
    for one in (first, second):
        one["history"] = [{**row, "lr": None} for row in one["history"]]
    alike(first, second)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["task/head=mlp"], "wants a linear head"),
        (["strategy=full_finetune", "+strategy/solver=lbfgs", "strategy.solver.penalties=[1]"], "for a head alone"),
        (["augmentation=weak"], "kept by sample, and training samples change"),
    ],
    ids=["mlp", "full", "augmented"],
)
def test_what_cannot_be_solved_for_is_said(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    run("s", *words, code=1)
    assert said in capsys.readouterr().err
    (file,) = Path("runs", "s").glob("*/run.json")
    assert json.loads(file.read_text())["status"] == "failed"
