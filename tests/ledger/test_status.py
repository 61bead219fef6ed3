"""What `transferlab status` says of runs that ended in every way, that run, that were killed and that never began."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest
from studies import begun, holder, listed, missing, record

from transferlab import cli, results
from transferlab.ledger.runs import entry
from transferlab.pulse import FILE, SILENCE


def test_every_state_is_counted_and_what_is_not_finished_is_named_with_its_reason(tmp_path, capsys):
    study = tmp_path / "runs" / "s"
    record(study / ("a" * 10), "finished", 10.0)
    record(study / ("b" * 10), "failed", reason="InputError: no such stage\nand more of it", seed=1)
    record(study / ("c" * 10), "diverged", reason="the loss became NaN", seed=2)
    record(study / ("d" * 10), "interrupted", reason="stopped from outside", seed=3)
    (study / "comparison").mkdir()
    first, *lines = listed(capsys, "status", "s")
    assert first == "s, 4 runs: 1 finished, 1 diverged, 1 failed, 1 interrupted"
    (failed,) = [line for line in lines if "failed" in line]
    assert "b" * 10 in failed and "seed=1" in failed and failed.endswith("InputError: no such stage")
    assert not any("and more of it" in line or "a" * 10 in line for line in lines)
    assert any("diverged" in line and "the loss became NaN" in line for line in lines)


def test_a_run_is_running_as_long_as_its_process_lives_and_interrupted_after(tmp_path, capsys):
    run = record(tmp_path / "runs" / "s" / "run", "interrupted", reason="still running, or killed")
    process = holder(run)
    try:
        (line,) = [line for line in listed(capsys, "status", "s") if "scratch" in line]
        assert line.split()[0] == "running"
        assert "2 of 7 epochs, for " in line and f"(process {process.pid})" in line
    finally:
        process.kill()
        process.communicate()
    (line,) = [line for line in listed(capsys, "status", "s") if "scratch" in line]
    assert line.split()[0] == "interrupted" and "2 of 7 epochs when it was last heard of" in line


def test_a_run_that_ends_leaves_no_sign_of_life(tmp_path):
    process = holder(tmp_path / "run")
    assert (tmp_path / "run" / FILE).exists()
    process.communicate("\n")
    assert not (tmp_path / "run" / FILE).exists()


@pytest.mark.parametrize(
    ("machine", "age", "state"),
    [("elsewhere", 0, "running"), ("elsewhere", 2 * SILENCE, "interrupted"), (os.uname().nodename, 0, "interrupted")],
)
def test_where_locks_do_not_reach_the_age_of_the_sign_decides(machine, age, state, tmp_path):
    run = record(tmp_path / "run", "interrupted")
    (run / results.LOCK).touch()
    told = {"machine": machine, "pid": 1, "since": time.time() - 100, "epoch": 1, "epochs": None}
    (run / FILE).write_text(json.dumps(told))
    os.utime(run / FILE, (time.time() - age,) * 2)
    assert entry(run).state == state


def test_looking_takes_a_run_from_nobody_and_writes_nothing(tmp_path, capsys):
    run = record(tmp_path / "runs" / "s" / "run", "interrupted")
    (run / results.LOCK).touch()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    listed(capsys, "status", "s")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_runs_that_never_began_are_missing_with_what_tells_them_apart(monkeypatch, capsys):
    begun(monkeypatch, "study=s", "strategy=scratch,full_finetune", "optimizer.lr=0.1,0.2", "seed=0,1")
    found = missing(capsys, "s")
    assert len(found) == 8
    assert "full_finetune none->digits convnet seed=1 optimizer.lr=0.2" in found.values()
    first, *_ = listed(capsys, "status", "s")
    assert first == "s, 8 runs: 8 missing"


def test_commands_of_one_study_are_put_together_and_what_two_ask_for_is_one_run(monkeypatch, capsys):
    begun(monkeypatch, "study=s", "seed=0,1,2")
    begun(monkeypatch, "study=s", "strategy=full_finetune,scratch", "seed=1,2,3")
    begun(monkeypatch, "study=s", "seed=0,1,2")
    assert len(missing(capsys, "s")) == 3 + 4
    assert len(list(Path("runs/s/plans").iterdir())) == 2


def test_twins_are_of_the_plan(monkeypatch, capsys):
    begun(monkeypatch, "study=s", "seed=0,1", "twins=true")
    assert {text.split()[0] for text in missing(capsys, "s").values()} == {"full_finetune", "scratch", "linear_probe"}


def test_each_study_has_its_own_part_of_a_command(monkeypatch, capsys):
    begun(monkeypatch, "study=s,t", "seed=0,1")
    assert len(missing(capsys, "s")) == len(missing(capsys, "t")) == 2
    lines = listed(capsys, "status")
    assert {line.split()[0]: line.split()[1:] for line in lines if line.strip()[:1] in ("s", "t") and "2" in line} == {
        "s": ["2"],
        "t": ["2"],
    }


def test_half_a_plan_hides_nothing_of_the_others(monkeypatch, capsys):
    begun(monkeypatch, "study=s", "seed=0,1")
    Path("runs/s/plans/half.json").write_text('{"schema": 1, "ru')
    assert len(missing(capsys, "s")) == 2


def test_a_long_list_is_cut_unless_all_is_asked_for(monkeypatch, capsys):
    begun(monkeypatch, "study=s", "seed=range(30)")
    lines = listed(capsys, "status", "s")
    assert sum("seed=" in line for line in lines) == 20
    assert any("and 10 more missing" in line for line in lines)
    assert sum("seed=" in line for line in listed(capsys, "status", "s", "--all")) == 30


@pytest.mark.parametrize("command", ["status", "retry", "clean"])
def test_a_study_that_has_gone_is_one_sentence(command, tmp_path, capsys):
    record(tmp_path / "runs" / "s" / "run", "finished", 1.0)
    shutil.rmtree(tmp_path / "runs" / "s")
    assert cli.main([command, "s"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "transferlab: there is no study 's' (there are: none)"


def test_a_study_that_goes_while_it_is_watched_is_one_sentence(tmp_path, monkeypatch, capsys):
    record(tmp_path / "runs" / "s" / "run", "interrupted")
    monkeypatch.setattr(time, "sleep", lambda _: shutil.rmtree(tmp_path / "runs"))
    assert cli.main(["status", "s", "--watch"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"transferlab: the study's folder {Path('runs/s')} cannot be read: No such file or directory"
    ]


def test_watching_ends_when_nothing_is_left(tmp_path, monkeypatch, capsys):
    run = record(tmp_path / "runs" / "s" / "run", "interrupted")
    monkeypatch.setattr(time, "sleep", lambda _: record(run, "finished", 5.0))
    assert listed(capsys, "status", "s", "--watch")[-1] == "s, 1 run: 1 finished"
