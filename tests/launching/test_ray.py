"""`hydra/launcher=ray`: a process of Ray's that is killed costs nothing but time, and Ray ends with the command."""

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from fates import SEARCH, WORDS, alive, fated, found, same, sweep, trials, wait_until

RAY = ("hydra/launcher=ray", "hydra.launcher.ray.init.num_cpus=2")
pytestmark = pytest.mark.slow


@pytest.fixture
def ray() -> None:
    pytest.importorskip("ray", reason="ray is not installed: pip install 'transferlab[ray]'")


def test_one_of_two_processes_is_killed_in_the_middle_and_the_study_ends_whole(
    ray: None, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("seed=range(4)", *fated("FirstDies"))
    assert sweep("killed", *words, *RAY) == 0
    said = capfd.readouterr().err
    assert sorted(line[:5] for line in said.splitlines() if "test/accuracy" in line) == [
        f"[{n}/4]" for n in (1, 2, 3, 4)
    ]
    assert said.count("its process of Ray's was lost: WorkerCrashedError (was memory short?); going on with it") == 1
    assert (said.count("going on: "), said.count("resuming ")) == (1, 1)
    assert sweep("peace", *words) == 0
    same("killed", "peace")


def test_a_search_one_of_whose_processes_is_killed_draws_and_finds_what_it_does_in_peace(
    ray: None, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("seed=0", *SEARCH, *fated("FirstDies"))
    assert sweep("killed", *words, *RAY) == 0
    said = capfd.readouterr().err
    assert (said.count("going on: "), said.count("resuming "), said.count("searched ")) == (1, 1, 1)
    assert sweep("peace", *words) == 0
    assert trials("killed") == trials("peace")
    assert [state for state, *_ in trials("killed")] == ["COMPLETE"] * 3
    same("killed", "peace")


def test_a_process_that_is_killed_too_often_costs_its_run_alone_which_the_same_command_ends(
    ray: None, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("seed=0,1", *fated("FirstDies"), *RAY, "hydra.launcher.ray.remote.max_retries=0")
    assert sweep("killed", *words) == 1
    assert sorted(run["status"] for run in found("killed").values()) == ["finished", "interrupted"]
    said = capfd.readouterr().err
    assert said.count("was lost: WorkerCrashedError (was memory short?); the same command goes on with this run") == 2
    assert sweep("killed", *words) == 0
    said = capfd.readouterr().err
    assert (said.count("finished before, skipped"), said.count("resuming ")) == (1, 1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_a_command_that_is_stopped_leaves_no_run_under_way_and_goes_on(
    ray: None, number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("pids").mkdir()
    words = ("seed=0,1", *fated("AllSleep"), *RAY)
    command = [sys.executable, "-m", "transferlab.cli", "train", "-m", *WORDS, "study=stopped", *words]
    # as from a terminal: who is started in the background has SIGINT ignored
    parent = subprocess.Popen(command, preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL))
    wait_until(lambda: len(list(Path("pids").iterdir())) == 2 or parent.poll() is not None)
    parent.send_signal(number)
    assert parent.wait(timeout=60) != 0
    for file in Path("pids").iterdir():
        wait_until(lambda: not alive(int(file.name)))  # noqa: B023
    reason = "still running, or killed" if number == signal.SIGKILL else "stopped from outside"
    assert [(run["status"], run["reason"]) for run in found("stopped").values()] == [("interrupted", reason)] * 2
    assert "Traceback" not in capfd.readouterr().err

    Path("once").touch()
    assert sweep("stopped", *words) == 0
    assert capfd.readouterr().err.count("resuming ") == 2


def test_a_run_has_as_many_threads_as_it_asks_for_cores_and_what_fails_is_said_in_its_line(
    ray: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    words = ("target.labels=6,100000", "trainer.max_epochs=1", *RAY, "hydra.launcher.ray.remote.num_cpus=2")
    assert sweep("s", *words, "--debug") == 1
    runs = found("s").values()
    assert sorted(run["status"] for run in runs) == ["failed", "finished"]
    assert {run["environment"]["threads"] for run in runs if run["status"] == "finished"} == {min(2, os.cpu_count())}
    said = capfd.readouterr().err
    assert "target.labels=100000" in next(line for line in said.splitlines() if line.startswith("[2/2]"))
    assert "RemoteError" in said
    assert "in prepared" in said


def test_several_runs_of_a_task_are_trained_together(ray: None, capfd: pytest.CaptureFixture[str]) -> None:
    words = ("strategy=linear_probe", "strategy.start=random", "cache=on", "seed=0,1", *RAY)
    assert sweep("s", *words, "hydra.launcher.runs_per_task=2") == 0
    assert "2 runs together" in capfd.readouterr().err
    assert [run["environment"]["runtime"]["together"] for run in found("s").values()] == [2, 2]


def test_what_a_cluster_will_never_have_is_refused(ray: None, capfd: pytest.CaptureFixture[str]) -> None:
    assert sweep("s", "seed=0,1", *RAY, "hydra.launcher.ray.remote.num_cpus=3") == 1
    assert "asks for num_cpus=3, num_gpus=0, and the cluster has 2 CPU" in capfd.readouterr().err
    assert not found("s")


def test_without_ray_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert sweep("s", "seed=0,1", *RAY) == 1
    assert "pip install 'transferlab[ray]'" in capfd.readouterr().err
    assert not found("s")
