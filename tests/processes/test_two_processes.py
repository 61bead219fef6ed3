"""Two processes train what one trains: each epoch's numbers, the weights and the record, once; killed, they go on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from records import alike, whole

pytestmark = pytest.mark.slow

# no BatchNorm and no dropout, of which each process has its own; 50 training samples in batches of 13, the last of 11
WORDS = ("target=digits", "backbone=mlp", "backbone.widths=[16,8]", "trainer.accelerator=cpu", "batch_size=13")
WORDS += ("target.labels=6", "trainer.max_epochs=4", "tracker=none")
FROM = ("source=mnist5k", "source.pretrain.max_epochs=1", "source.pretrain.target.labels=20")
FROM += ("source.pretrain.trainer.devices=1",)
TWO = ("trainer.devices=2", "trainer.strategy=ddp_fork")
STRATEGIES = {
    "full_finetune": (),
    "lp_ft": ("strategy.freezing.probe_epochs=2",),
    "gradual_unfreezing": ("strategy.freezing.every=1",),
    "l2_sp": (),
    # an epoch is a pass over 1348 inputs, 6 batches of 200 and one of 148
    "dann": ("target.labels=none", "batch_size=200", "trainer.max_epochs=2", "selection=infomax", "rules=all"),
}
# what becomes of one of the two in the second step of the second epoch
OPTIMIZER = """
import os, signal
from pathlib import Path
import torch.distributed as dist
from torch.optim import SGD

class Dies(SGD):
    def __init__(self, parameters, rank, once, signal, **settings):
        super().__init__(parameters, **settings)
        self.rank, self.once, self.signal, self.steps = rank, Path(once), signal, 0

    def step(self, closure=None):
        self.steps += 1
        if self.steps == 6 and dist.get_rank() == self.rank and not self.once.exists():
            self.once.touch()
            os.kill(os.getpid(), getattr(signal, self.signal))
        return super().step(closure)
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "optimizers.py").write_text(OPTIMIZER)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))


def train(study: str, *words: str, by: tuple[str, ...] = ()) -> tuple[int, str]:
    command = [sys.executable, *by, "-m", "transferlab.cli", "train", *WORDS, f"study={study}", *words]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=500)
    return ended.returncode, ended.stderr


def record(study: str) -> dict[str, Any]:
    (file,) = Path("runs", study).glob("*/run.json")
    return json.loads(file.read_text())


def outcome(study: str) -> dict[str, Any]:
    (file,) = Path("runs", study).glob("*/run.json")
    return whole(file)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_two_processes_are_one(strategy: str) -> None:
    words = (*FROM, f"strategy={strategy}", *STRATEGIES[strategy], "oracle=true")
    for study, more in (("one", ()), ("two", TWO)):
        code, said = train(study, *words, *more)
        assert code == 0, said
    assert said.count("test/accuracy") == 1
    one, two = outcome("one"), outcome("two")
    assert (one["environment"]["processes"], two["environment"]["processes"]) == (1, 2)
    assert [row["epoch"] for row in two["history"]] == list(range(len(one["history"])))
    assert two["report"]["samples"] == one["report"]["samples"] == 539  # an odd number, each once
    two["cost"]["flops"] = one["cost"]["flops"]  # what both compute is done twice
    alike(one, two, within=1e-4)
    assert sorted(one["rules"]) == sorted(two["rules"])
    left, usual = ({file.name for file in Path("runs", study).glob("*/*")} for study in ("two", "one"))
    assert left == usual


def test_torchrun_trains_the_same_run_and_writes_it_once() -> None:
    words = ("source=none", "strategy=full_finetune", "strategy.start=random", "trainer.devices=2")
    assert train("ours", *words, "trainer.strategy=ddp")[0] == 0
    by = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    code, said = train("theirs", *words, "trainer.strategy=ddp", by=by)
    assert code == 0, said
    assert said.count("test/accuracy") == 1
    alike(outcome("ours"), outcome("theirs"), exactly=True)


@pytest.mark.parametrize("rank", [0, 1])
def test_one_that_is_killed_ends_the_run_which_goes_on_to_the_same_end(rank: int) -> None:
    words = ("source=none", "strategy=gradual_unfreezing", "strategy.freezing.every=1", "strategy.start=random", *TWO)
    dies = ("--trust", "optimizers", "optimizer._target_=optimizers.Dies", f"+optimizer.rank={rank}")
    dies += ("+optimizer.signal=SIGKILL", f"+optimizer.once={Path('once').resolve()}")
    code, said = train("killed", *words, *dies)
    if rank:
        assert code == 1
        assert "process 1 of 2 is gone: its process was ended by SIGKILL" in said.splitlines()[-1]
        assert record("killed")["status"] == "failed"
    else:
        assert code == -signal.SIGKILL
        assert record("killed")["status"] == "interrupted"
    assert len(record("killed")["history"]) == (1 if rank else 0)  # it is written when a run ends
    _none_left()
    code, said = train("killed", *words, *dies)
    assert (code, said.count("resuming ")) == (0, 1), said
    assert train("peace", *words, *dies)[0] == 0  # nobody dies again
    alike(outcome("killed"), outcome("peace"), exactly=True)


def test_sigterm_ends_both_in_order() -> None:
    words = ("source=none", "strategy=full_finetune", "strategy.start=random", *TWO)
    dies = ("--trust", "optimizers", "optimizer._target_=optimizers.Dies", "+optimizer.rank=0")
    dies += ("+optimizer.signal=SIGTERM", f"+optimizer.once={Path('once').resolve()}")
    code, said = train("told", *words, *dies)
    assert code == 130, said
    assert (record("told")["status"], len(record("told")["history"])) == ("interrupted", 1)
    _none_left()
    assert train("told", *words, *dies)[0] == 0
    assert record("told")["status"] == "finished"


def _none_left() -> None:
    """No process of this folder is left."""
    here = str(Path.cwd())
    until = time.monotonic() + 60
    while left := [pid for pid in os.listdir("/proc") if pid.isdigit() and _is_of(pid, here)]:
        assert time.monotonic() < until, left
        time.sleep(0.2)


def _is_of(pid: str, folder: str) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/cwd") == folder and pid != str(os.getpid())
    except OSError:
        return False
