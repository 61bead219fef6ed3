"""`hydra/launcher=slurm`: jobs that die or are sent back to the queue cost nothing but time."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from records import alike, whole
from transferlab import cli

WORDS = ("strategy=full_finetune", "source=none", "strategy.start=random", "target=digits", "target.labels=6")
WORDS += ("batch_size=16", "trainer.max_epochs=3", "backbone.widths=[4,8]", "trainer.accelerator=cpu", "tracker=none")
SLURM = ("hydra/launcher=slurm", "hydra.launcher.poll_seconds=1")
ON_THIS_MACHINE = (*SLURM, "hydra.launcher.cluster=local")
BATCHES = 4  # 50 training samples in batches of 16
# what becomes of a process in the second step of the second epoch
OPTIMIZERS = f"""
import os, signal, time
from pathlib import Path
from torch.optim import SGD

class Deadly(SGD):
    def __init__(self, parameters, once, **settings):
        super().__init__(parameters, **settings)
        self.once, self.steps = Path(once), 0

    def step(self, closure=None):
        self.steps += 1
        if self.steps == {BATCHES} + 2:
            try:
                self.once.touch(exist_ok=False)
            except FileExistsError:
                pass
            else:
                self.fate()
        return super().step(closure)

    def fate(self):
        os.kill(os.getpid(), signal.SIGKILL)

class Sleepy(Deadly):
    def fate(self):
        time.sleep(600)
"""

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TRANSFERLAB_TRUST", "TRANSFERLAB_JOBS", "TRANSFERLAB_PARENT"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    (tmp_path / "optimizers.py").write_text(OPTIMIZERS)


@pytest.fixture(scope="module")
def slurm() -> Iterator[None]:
    """A Slurm that answers."""
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'transferlab[slurm]'")
    script = os.environ.get("TRANSFERLAB_SLURM_UP")
    started = script is not None and not answers()
    if started:
        subprocess.run(["bash", str(script), "up"], check=True, stdout=subprocess.DEVNULL)
    if not answers():
        pytest.skip("no Slurm answers to sinfo, and TRANSFERLAB_SLURM_UP names no script that starts one")
    yield
    if started:
        subprocess.run(["bash", str(script), "down"], check=True)


def answers() -> bool:
    return shutil.which("sinfo") is not None and subprocess.run(["sinfo", "-h"], capture_output=True).returncode == 0


def stepping(name: str) -> tuple[str, ...]:
    return (
        "--trust",
        "optimizers",
        f"optimizer._target_=optimizers.{name}",
        f"+optimizer.once={Path('once').resolve()}",
    )


def sweep(study: str, *words: str) -> int:
    return cli.main(["train", "-m", *WORDS, f"study={study}", *words])


def found(study: str) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in Path("runs", study).glob("*/run.json")]


def same(study: str, other: str) -> None:
    runs, others = (sorted(Path("runs", name).glob("*/run.json")) for name in (study, other))
    assert [file.parent.name for file in runs] == [file.parent.name for file in others]
    for one, two in zip(runs, others, strict=True):
        alike(whole(one), whole(two), exactly=True)


@pytest.mark.slurm
def test_a_job_that_is_sent_back_to_the_queue_ends_as_if_nothing_had_been(slurm: None) -> None:
    words = ("seed=0,1", *stepping("Sleepy"))
    command = [sys.executable, "-m", "transferlab.cli", "train", "-m", *WORDS, "study=requeued", *words, *SLURM]
    parent = subprocess.Popen([*command, "hydra.launcher.array_parallelism=1"], stderr=subprocess.PIPE, text=True)
    while not Path("once").exists():
        assert parent.poll() is None, parent.communicate()[1]
        time.sleep(0.5)
    listed = ["squeue", "-h", "-t", "RUNNING", "-o", "%A", "-n", "transferlab"]
    (number,) = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split()
    subprocess.run(["scontrol", "requeue", number], check=True)
    said = parent.communicate(timeout=500)[1]
    assert parent.returncode == 0, said
    assert said.count("resuming ") == 1
    assert sorted(line[:5] for line in said.splitlines() if "test/accuracy" in line) == ["[1/2]", "[2/2]"]
    assert sweep("peace", *words) == 0
    same("requeued", "peace")


def test_a_job_that_dies_costs_its_run_alone_which_the_same_command_ends(capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'transferlab[slurm]'")
    words = ("seed=0,1", *stepping("Deadly"))
    assert sweep("killed", *words, *ON_THIS_MACHINE) == 1
    said = capfd.readouterr().err
    assert sorted(run["status"] for run in found("killed")) == ["finished", "interrupted"]
    assert said.count("of local died") == 2  # in its line, and last
    assert said.count("test/accuracy") == 1
    assert sweep("killed", *words, *ON_THIS_MACHINE) == 0
    said = capfd.readouterr().err
    assert (said.count("finished before, skipped"), said.count("resuming ")) == (1, 1)
    assert sweep("peace", *words) == 0
    same("killed", "peace")


def test_several_runs_of_a_job_are_trained_together(capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'transferlab[slurm]'")
    words = ("strategy=linear_probe", "cache=on", "seed=0,1", *ON_THIS_MACHINE, "hydra.launcher.runs_per_job=2")
    assert sweep("s", *words) == 0
    assert "2 runs together" in capfd.readouterr().err
    assert [run["environment"]["runtime"]["together"] for run in found("s")] == [2, 2]


def test_without_submitit_the_remedy_is_said(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert sweep("s", "seed=0,1", *SLURM) == 1
    assert "pip install 'transferlab[slurm]'" in capfd.readouterr().err
    assert not found("s")
