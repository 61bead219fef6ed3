"""`hydra/launcher=slurm`: jobs that die or are sent back to the queue cost nothing but time."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fates import SEARCH, WORDS, fated, found, same, sweep, trials

SLURM = ("hydra/launcher=slurm", "hydra.launcher.poll_seconds=1")
ON_THIS_MACHINE = (*SLURM, "hydra.launcher.cluster=local")
ENDS_AT_A_SIGNAL = ("hydra.launcher.timeout_min=10",)  # so short that submitit takes any for the end
TWO_TASKS = ("trainer.devices=2", "trainer.strategy=ddp", "hydra.launcher.tasks_per_node=2")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def slurm() -> Iterator[None]:
    """A Slurm that answers."""
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'transferlab[slurm]'")
    script = os.environ.get("TRANSFERLAB_SLURM_UP")
    started = script is not None and not answers()
    if started:
        # without the threads of a test, which `nproc` would take for the machine's cores
        whole = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
        begun = subprocess.run(["bash", str(script), "up"], capture_output=True, text=True, env=whole)
        if begun.returncode != 0:
            pytest.skip(f"TRANSFERLAB_SLURM_UP={script} starts no Slurm: {begun.stderr.strip()[-200:]}")
    if not answers():
        pytest.skip("no Slurm answers to sinfo, and TRANSFERLAB_SLURM_UP names no script that starts one")
    tried = subprocess.run(["srun", "--immediate=60", "true"], capture_output=True, text=True)
    if tried.returncode != 0:
        pytest.skip(f"this Slurm starts no job: {tried.stderr.strip()[-200:]}")
    yield
    if started:
        subprocess.run(["scancel", "--name=transferlab"], check=True)
        subprocess.run(["bash", str(script), "down"], check=True)


def answers() -> bool:
    return shutil.which("sinfo") is not None and subprocess.run(["sinfo", "-h"], capture_output=True).returncode == 0


def sent_back(study: str, *words: str, by: Callable[[str], None]) -> str:
    """What a sweep says whose first job is sent back to the queue in the middle of a run."""
    status, said = disturbed(study, *words, by=by)
    assert status == 0, said
    assert said.count("resuming ") == 1
    return said


def disturbed(study: str, *words: str, by: Callable[[str], None]) -> tuple[int, str]:
    """How a sweep ends, and what it says, to whose first job something is done in the middle of a run."""
    command = [sys.executable, "-m", "transferlab.cli", "train", "-m", *WORDS, f"study={study}", *words, *SLURM]
    parent = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not Path("once").exists():
        assert parent.poll() is None, parent.communicate()[1]
        time.sleep(0.5)
    listed = ["squeue", "-h", "-t", "RUNNING", "-o", "%A", "-n", "transferlab"]
    (number,) = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split()
    by(number)
    said = parent.communicate(timeout=500)[1]
    return parent.returncode, said


def requeue(number: str) -> None:
    subprocess.run(["scontrol", "requeue", number], check=True)


def preempt(_: str) -> None:
    """Have a job of another partition take the whole machine."""
    subprocess.run(["srun", "--partition=high", "--exclusive", "true"], check=True)


def signal_it(number: str) -> None:
    subprocess.run(["scancel", "--signal=USR2", number], check=True)


def let_its_time_pass(_: str) -> None:
    """Slurm tells it."""


def logged(study: str) -> str:
    """What Slurm and submitit say of a study's jobs."""
    return "".join(file.read_text() for file in Path("runs", study).glob(".submitit/*/*_log.*"))


@pytest.mark.slurm
def test_a_job_that_is_sent_back_to_the_queue_ends_as_if_nothing_had_been(slurm: None) -> None:
    words = ("seed=0,1", *fated("FirstSleeps"))
    said = sent_back("requeued", *words, "hydra.launcher.array_parallelism=1", by=requeue)
    assert sorted(line[:5] for line in said.splitlines() if "test/accuracy" in line) == ["[1/2]", "[2/2]"]
    assert sweep("peace", *words) == 0
    same("requeued", "peace")


@pytest.mark.slurm
def test_a_job_that_another_preempts_ends_as_if_nothing_had_been(slurm: None) -> None:
    known = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True, check=True).stdout
    if not re.search(r"PreemptType\s*=\s*preempt/partition_prio", known):
        pytest.skip("this Slurm has no partition whose jobs preempt those of others")
    words = ("seed=0", *fated("FirstSleeps"))
    sent_back("preempted", *words, by=preempt)
    assert "DUE TO PREEMPTION" in logged("preempted")
    assert sweep("peace", *words) == 0
    same("preempted", "peace")


@pytest.mark.slurm
def test_a_job_whose_time_is_over_goes_back_to_the_queue_and_ends_as_if_nothing_had_been(slurm: None) -> None:
    # processes beside the run, which Slurm's signal reaches too: two that load samples, and W&B's
    words = ("seed=0", "workers=2", "augmentation=trivial", "tracker=wandb", *fated("FirstSleeps"))
    short = ("hydra.launcher.timeout_min=2", "hydra.launcher.signal_delay_s=15")
    sent_back("short", *words, *short, by=let_its_time_pass)
    assert "Caught signal SIGUSR2" in logged("short")
    assert "this job is timed-out" in logged("short")
    assert sweep("peace", *words) == 0
    same("short", "peace")


@pytest.mark.slurm
def test_a_job_whose_time_is_over_too_often_is_said_and_the_same_command_goes_on(
    slurm: None, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("seed=0", *fated("FirstSleeps"))
    status, said = disturbed("short", *words, *ENDS_AT_A_SIGNAL, "hydra.launcher.max_num_timeout=0", by=signal_it)
    assert (status, "timed-out too many times" in said) == (1, True)
    assert [run["status"] for run in found("short").values()] == ["failed"]
    assert sweep("short", *words, *SLURM) == 0
    assert capfd.readouterr().err.count("resuming ") == 1
    assert sweep("peace", *words) == 0
    same("short", "peace")


@pytest.mark.slurm
def test_a_run_of_two_tasks_that_is_sent_back_ends_the_same_and_is_one_run_to_the_tracker(slurm: None) -> None:
    words = ("seed=0", "tracker=wandb", *fated("FirstSleeps"), *TWO_TASKS)
    said = sent_back("requeued", *words, by=requeue)
    assert said.count("test/accuracy") == 1
    (run,) = found("requeued").values()
    assert run["environment"]["processes"] == 2
    name = run["tracker"]["run_id"]
    logs = [file.parent.name for file in Path("runs/requeued").glob("*/wandb/offline-run-*/*.wandb")]
    assert [log.endswith(f"-{name}") for log in logs] == [True, True]  # one of each attempt, of one run
    assert sweep("peace", *words, *SLURM) == 0
    same("requeued", "peace")


@pytest.mark.slurm
def test_a_search_one_of_whose_jobs_is_sent_back_draws_and_finds_what_it_does_in_peace(slurm: None) -> None:
    words = ("seed=0", *SEARCH, *fated("FirstSleeps"))
    said = sent_back("requeued", *words, "hydra.launcher.array_parallelism=1", by=requeue)
    assert (said.count("test/accuracy"), said.count("searched ")) == (3, 1)
    assert sweep("peace", *words) == 0
    assert trials("requeued") == trials("peace")
    assert [state for state, *_ in trials("requeued")] == ["COMPLETE"] * 3
    same("requeued", "peace")


@pytest.mark.slurm
def test_a_job_of_slurms_that_dies_is_noticed_with_accounting_and_without(
    slurm: None, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("seed=0,1", *fated("FirstDies"), *SLURM)
    assert sweep("killed", *words) == 1
    said = capfd.readouterr().err
    assert (said.count("of slurm died"), said.count("test/accuracy"), "sacct" in said) == (2, 1, False)
    assert sweep("killed", *words) == 0
    assert capfd.readouterr().err.count("resuming ") == 1


def test_a_job_that_dies_costs_its_run_alone_which_the_same_command_ends(capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'transferlab[slurm]'")
    words = ("seed=0,1", *fated("FirstDies"))
    assert sweep("killed", *words, *ON_THIS_MACHINE) == 1
    said = capfd.readouterr().err
    assert sorted(run["status"] for run in found("killed").values()) == ["finished", "interrupted"]
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
    assert [run["environment"]["runtime"]["together"] for run in found("s").values()] == [2, 2]


def test_without_submitit_the_remedy_is_said(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert sweep("s", "seed=0,1", *SLURM) == 1
    assert "pip install 'transferlab[slurm]'" in capfd.readouterr().err
    assert not found("s")
