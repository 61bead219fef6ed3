"""`hydra/launcher=joblib`: every run says what it says in a sweep of one process, whatever becomes of the others."""

import os
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from fates import WORDS, alive, fated, found, same, sweep, wait_until

from records import alike, whole
from transferlab import cores
from transferlab.cores import usable_cores

PROCESSES = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
pytestmark = pytest.mark.slow


def test_a_process_that_is_killed_costs_its_run_alone_which_the_same_command_ends(
    capfd: pytest.CaptureFixture[str],
) -> None:
    words = ("seed=range(6)", *fated("FirstDies"))
    assert sweep("killed", *words, *PROCESSES) == 1
    said = capfd.readouterr().err.splitlines()
    assert sorted(run["status"] for run in found("killed").values()) == ["finished"] * 5 + ["interrupted"]
    (line,) = (line for line in said if "was ended by SIGKILL" in line and line.startswith("["))
    line = re.sub(r"; [\d:]+ left$", "", line)
    assert line.endswith("; the same command goes on with this run")
    assert sorted(line[:5] for line in said if line.startswith("[")) == [f"[{n}/6]" for n in range(1, 7)]
    assert said[-1] == f"transferlab: {line.partition(': ')[2]}"

    assert sweep("killed", *words, *PROCESSES) == 0
    said = capfd.readouterr().err
    assert (said.count("finished before, skipped"), said.count("resuming ")) == (5, 1)
    assert sweep("peace", *words) == 0
    same("killed", "peace")


@pytest.mark.skipif(not hasattr(os, "setpgrp"), reason="this system has no process groups")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_a_command_that_is_stopped_leaves_no_process_and_goes_on(
    number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("pids").mkdir()
    words = ("seed=0,1", *fated("AllSleep"), *PROCESSES)
    command = [sys.executable, "-m", "transferlab.cli", "train", "-m", *WORDS, "study=stopped", *words]
    # as from a terminal: who is started in the background has SIGINT ignored
    parent = subprocess.Popen(command, preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL))
    wait_until(lambda: len(list(Path("pids").iterdir())) == 2 or parent.poll() is not None)
    parent.send_signal(number)
    assert parent.wait(timeout=60) == (130 if number == signal.SIGINT else -number)
    for file in Path("pids").iterdir():
        wait_until(lambda: not alive(int(file.name)))  # noqa: B023
    runs = found("stopped").values()
    reason = "stopped from outside" if number == signal.SIGINT else "still running, or killed"
    assert [(run["status"], run["reason"]) for run in runs] == [("interrupted", reason)] * 2
    assert "Traceback" not in capfd.readouterr().err

    Path("once").touch()
    assert sweep("stopped", *words) == 0
    assert capfd.readouterr().err.count("resuming ") == 2
    assert sweep("peace", *words) == 0
    same("stopped", "peace")


def test_what_fails_in_a_process_is_said_as_in_a_sweep_of_one_and_ends_no_other_run(
    capfd: pytest.CaptureFixture[str],
) -> None:
    words = ("optimizer.lr=0.1,1e30", "target.labels=6,100000", "trainer.max_epochs=1")
    lines = []
    for study, more in (("several", PROCESSES), ("one", ())):
        assert sweep(study, *words, *more) == 1
        said = capfd.readouterr().err.splitlines()
        lines.append(sorted(line.split(", ")[0] for line in said if "; 0:" not in line and "100000" in line))
    assert lines[0] == lines[1]
    several, one = (
        {key: (run["status"], run["reason"]) for key, run in found(study).items()} for study in ("several", "one")
    )
    assert several == one
    assert sorted(status for status, _ in one.values()) == ["diverged", "failed", "failed", "finished"]


def test_debug_shows_where_in_the_process_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    assert sweep("s", "target.labels=100000", *PROCESSES, "--debug") == 1
    assert "RemoteError" in (said := capfd.readouterr().err)
    assert "in prepared" in said


def test_a_divergence_alone_is_no_failure_of_the_sweep() -> None:
    assert sweep("s", "optimizer.lr=1e30", *PROCESSES) == 0
    assert [run["status"] for run in found("s").values()] == ["diverged"]


def test_processes_train_together_what_each_was_given(capfd: pytest.CaptureFixture[str]) -> None:
    words = ("strategy=linear_probe", "strategy.start=random", "cache=on", "seed=0,1", "optimizer.lr=0.01,0.1")
    assert sweep("before", *words, "hydra/launcher=vectorized") == 0  # what it leaves can still be sent to processes
    capfd.readouterr()
    assert sweep("together", *words, *PROCESSES, "hydra.launcher.together=true") == 0
    assert capfd.readouterr().err.count("2 runs together") == 2
    assert sweep("alone", *words) == 0
    assert found("together").keys() == found("alone").keys()
    for one in Path("runs", "together").glob("*/run.json"):
        record = whole(one)
        assert record["environment"]["runtime"]["together"] == 2
        alike(record, whole(Path("runs", "alone", one.parent.name, "run.json")))


def test_a_number_of_processes_that_is_none_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    assert sweep("s", "seed=0,1", "hydra/launcher=joblib", "hydra.launcher.n_jobs=0") == 1
    assert "hydra.launcher.n_jobs=0: a whole number from 1 on" in capfd.readouterr().err
    assert not found("s")


def test_processes_divide_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert sweep("s", "seed=0,1", "trainer.max_epochs=1", *PROCESSES) == 0
    share = max(1, usable_cores() // 2)
    assert {run["environment"]["threads"] for run in found("s").values()} == {share}
    assert "OMP_NUM_THREADS" not in os.environ


@pytest.mark.parametrize(("given", "share", "threads"), [("", 4, "4"), ("1", 4, "1"), ("8", 4, "4"), ("x", 0, "1")])
def test_a_process_has_its_share_of_the_cores_or_fewer_where_the_user_says_so(
    given: str, share: int, threads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert cores.threads(share) == threads
