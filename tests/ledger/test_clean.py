"""`transferlab clean` removes what failed or was killed, asks first, and touches neither results nor what runs."""

import io
import os
from pathlib import Path

import pytest
from filelock import FileLock
from studies import begun, holder, listed, missing, record

from transferlab import cli, results
from transferlab.ledger.runs import Ledger
from transferlab.pulse import FILE


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def study(tmp_path):
    """One run of each kind; the finished one has what a killed process left."""
    study = tmp_path / "runs" / "s"
    done = record(study / "done", "finished", 1.0)
    for name in ("selected.pt", "resume.ckpt", ".selected.pt-abcd1234", FILE, results.LOCK, "config.yaml"):
        (done / name).write_bytes(b"x" * 1000)
    os.link(done / "selected.pt", done / "last.pt")
    record(study / "bad", "failed", reason="InputError: broken", seed=1)
    (study / "bad" / "wandb").mkdir()
    (study / "bad" / "wandb" / "log").write_bytes(b"x" * 5000)
    record(study / "stopped", "interrupted", reason="killed", seed=2)
    record(study / "nan", "diverged", seed=3)
    (study / "comparison").mkdir()
    (study / "plans").mkdir()
    (study / "plans" / ".0123456789.json-abcd1234").touch()
    (study / "multirun.yaml").touch()
    return study


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_what_is_of_no_use_goes_and_results_stay_as_they_are(study, capsys):
    kept = {name: (study / "done" / name).stat().st_mtime_ns for name in ("run.json", "selected.pt", "last.pt")}
    lines = listed(capsys, "clean", "s", "--yes")
    assert names(study) == {"done", "nan", "comparison", "plans", "multirun.yaml"}
    assert not names(study / "plans")
    assert names(study / "done") == {*kept, "config.yaml"}
    assert kept == {name: (study / "done" / name).stat().st_mtime_ns for name in kept}
    (bad,) = [line for line in lines if line.startswith("failed")]
    assert "kB" in bad and "seed=1" in bad and bad.endswith("InputError: broken")
    assert lines[-1].startswith("removed ")
    assert "has nothing to remove (2 runs: 1 finished, 1 diverged)" in listed(capsys, "clean", "s")[0]


@pytest.mark.parametrize(("answer", "removed"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_it_asks_first(answer, removed, study, monkeypatch):
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    assert cli.main(["clean", "s"]) == 0
    assert (study / "bad").exists() != removed


def test_without_a_terminal_and_without_yes_nothing_goes(study, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert cli.main(["clean", "s"]) == 1
    assert capsys.readouterr().err == "transferlab: there is no terminal to ask at: say --yes\n"
    assert (study / "bad").exists()


def test_only_takes_some_kinds_and_knows_no_others(study, capsys):
    listed(capsys, "clean", "s", "--yes", "--only", "failed")
    assert names(study) == {"done", "nan", "stopped", "comparison", "plans", "multirun.yaml"}
    assert "resume.ckpt" in names(study / "done")
    assert cli.main(["clean", "s", "--only", "finished"]) == 1


def test_what_runs_stays(study, capsys):
    process = holder(study / "stopped")
    listed(capsys, "clean", "s", "--yes")
    assert {results.LOCK, FILE, "run.json"} <= names(study / "stopped")
    process.communicate("\n")
    assert process.returncode == 0


def test_a_run_that_begins_between_the_list_and_the_answer_stays(study, monkeypatch, capsys):
    lock = FileLock(study / "bad" / results.LOCK)

    class Slow(Terminal):
        def readline(self, *_):
            lock.acquire()
            return "y\n"

    monkeypatch.setattr("sys.stdin", Slow())
    lines = listed(capsys, "clean", "s")
    lock.release()
    assert (study / "bad" / "run.json").exists() and not (study / "stopped").exists()
    assert any("left alone" in line and "bad" in line for line in lines)


def test_a_folder_that_cannot_be_written_is_one_sentence(study, monkeypatch, capsys):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    assert cli.main(["clean", "s", "--yes", "--only", "failed"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("transferlab: cannot write to runs/s/bad: Permission denied")
    assert (study / "bad" / "run.json").exists()


def test_runs_that_never_began_are_forgotten_when_asked(monkeypatch, capsys):
    begun(monkeypatch, "study=s", "seed=0,1")
    begun(monkeypatch, "study=s", "strategy=scratch", "seed=0,1")
    done, *_ = missing(capsys, "s")
    record(Path("runs/s", done), "finished", 1.0)
    listed(capsys, "clean", "s", "--yes")
    assert len(missing(capsys, "s")) == 3
    listed(capsys, "clean", "s", "--yes", "--forget")
    assert not missing(capsys, "s")
    assert [entry.state for entry in Ledger(Path("runs/s")).look()] == ["finished"]
    assert len(list(Path("runs/s/plans").iterdir())) == 1
