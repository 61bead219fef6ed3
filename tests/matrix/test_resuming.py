"""Every strategy goes on after an interruption as if there had been none, bit for bit.

`tests/test_resume.py` kills processes at several steps, of a few strategies. Here any of them is stopped once, as
Ctrl-C does it, and its command is given again. Some are drawn each day, see `cells.drawn`.
"""

import json
import random
import signal
from pathlib import Path
from typing import Any

import cells
import numpy as np
import pytest
import torch
from pytorch_lightning import Callback

from transferlab import cli, results, train

EPOCHS = 4  # of two steps
STOP = 5  # the second step of the third epoch
# Schedules by which the same stages train in all epochs; every other one has moved before the interruption.
STILL = {"backbone", "full", "linear_probe", "surgical", "top_k"}

pytestmark = pytest.mark.slow


class Stopping(Callback):
    """Counts the steps of a fit, and stops it before one of them where it is told to."""

    def __init__(self, stop: int | None) -> None:
        self.stop = stop
        self.steps: list[int] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.stop:
            raise KeyboardInterrupt
        self.steps.append(trainer.global_step)


@pytest.fixture(autouse=True)
def ctrl_c():
    """Lightning ignores Ctrl-C once it has come."""
    handler = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.mark.parametrize("strategy", cells.drawn(8, cells.stepping()))
def test_a_strategy_goes_on_as_if_it_had_not_been_interrupted(strategy, folder, beside, monkeypatch):
    monkeypatch.chdir(folder)
    more = (f"trainer.max_epochs={EPOCHS}", *cells.EARLY.get(strategy, ()))
    config = cells.composed(cells.command(cells.alone(strategy), folder, "study=whole", *more))
    train.run(config)
    whole = outcome(results.folder(config))
    assert has_moved(config, whole["history"])

    fits: list[Stopping] = []
    beside(fits, lambda: Stopping(STOP if not fits else None))
    # the run's own saved config, which is composed in half the time
    command = ["train", "--config-dir", str(results.folder(config)), "--config-name", "config", "study=stopped"]
    stopped = folder / "runs" / "stopped" / results.run_id(config)
    assert in_any_random_state(command) == 130
    assert json.loads((stopped / "run.json").read_text())["status"] == "interrupted"
    assert (stopped / "resume.ckpt").exists()
    assert in_any_random_state(command) == 0
    assert [fit.steps for fit in fits] == [list(range(STOP)), list(range(STOP - 1, 2 * EPOCHS))]

    again = outcome(stopped)
    for file in ("selected.pt", "last.pt"):
        assert same(whole.pop(file), again.pop(file)), file
    assert again == whole


def in_any_random_state(command: list[str]) -> int:
    """The exit code of a command; what was drawn before it must not matter."""
    torch.seed()
    np.random.seed()
    random.seed()
    return cli.main(command)


def outcome(folder: Path) -> dict[str, Any]:
    """All that a run leaves and that may not depend on an interruption: no times, and not where it lies."""
    record = json.loads((folder / "run.json").read_text())
    assert record["status"] == "finished"
    for key in ("study", "overrides", "environment", "tracker"):
        del record[key]
    del record["config"]["study"]
    for key in ("seconds", "fit_seconds", "diagnostics_seconds", "peak_memory_bytes"):
        del record["cost"][key]
    weights = {file: torch.load(folder / file, weights_only=True) for file in ("selected.pt", "last.pt")}
    return record | weights


def same(some: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> bool:
    return some.keys() == others.keys() and all(torch.equal(value, others[key]) for key, value in some.items())


def has_moved(config: Any, history: list[dict[str, Any]]) -> bool:
    """Whether the schedule, if it is one, let other stages train in the interrupted epoch than in the first."""
    schedule = str(config.strategy.freezing["_target_"]).rpartition(".")[2]
    return schedule in STILL or history[STOP // 2]["trainable"] != history[0]["trainable"]
