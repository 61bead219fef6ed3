"""Short sweeps on digits whose processes come to an end in the middle of a run."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from records import alike, whole
from transferlab import cli

WORDS = ("strategy=full_finetune", "source=none", "strategy.start=random", "target=digits", "target.labels=6")
WORDS += ("batch_size=16", "trainer.max_epochs=3", "backbone.widths=[4,8]", "trainer.accelerator=cpu", "tracker=none")
SEARCH = ("hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=2")
# what is drawn depends on the name of Optuna's study
SEARCH += ("hydra.sweeper.study_name=same", "optimizer.lr=tag(log,interval(0.001,0.1))")
BATCHES = 4  # 50 training samples in batches of 16
# what becomes of a process in the second step of the second epoch
OPTIMIZERS = f"""
import os, signal, time
from pathlib import Path
from torch.optim import SGD

class Fated(SGD):
    def __init__(self, parameters, once, **settings):
        super().__init__(parameters, **settings)
        self.once, self.steps = Path(once), 0

    def step(self, closure=None):
        self.steps += 1
        if self.steps == {BATCHES} + 2:
            self.fate()
        return super().step(closure)

    def is_first(self):
        try:
            self.once.touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

class FirstDies(Fated):
    def fate(self):
        if self.is_first():
            os.kill(os.getpid(), signal.SIGKILL)

class FirstSleeps(Fated):
    def fate(self):
        if self.is_first():
            time.sleep(600)

class AllSleep(Fated):
    def fate(self):
        if not self.once.exists():
            Path("pids", str(os.getpid())).touch()
            for _ in range(6000):
                time.sleep(0.1)  # Ray interrupts between two operations of Python's
"""


def fated(name: str) -> tuple[str, ...]:
    once = Path("once").resolve()
    return ("--trust", "optimizers", f"optimizer._target_=optimizers.{name}", f"+optimizer.once={once}")


def sweep(study: str, *words: str) -> int:
    return cli.main(["train", "-m", *WORDS, f"study={study}", *words])


def found(study: str) -> dict[str, dict[str, Any]]:
    return {file.parent.name: json.loads(file.read_text()) for file in Path("runs", study).glob("*/run.json")}


def same(study: str, other: str) -> None:
    runs, others = (sorted(Path("runs", name).glob("*/run.json")) for name in (study, other))
    assert [file.parent.name for file in runs] == [file.parent.name for file in others]
    for one, two in zip(runs, others, strict=True):
        alike(whole(one), whole(two), exactly=True)


def trials(study: str) -> list[tuple[Any, ...]]:
    """What Optuna was told of the one search of a study."""
    optuna = pytest.importorskip("optuna", reason="optuna is not installed: pip install 'transferlab[search]'")
    storage = f"sqlite:///{Path('runs', study, 'optuna.db').resolve()}"
    (name,) = optuna.get_all_study_names(storage)
    told = optuna.load_study(study_name=name, storage=storage).trials
    return [(one.state.name, one.params, one.value, one.intermediate_values) for one in told]


def wait_until(condition) -> None:
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.1)
    pytest.fail("waited for five minutes in vain")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
