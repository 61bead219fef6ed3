"""`transferlab retry` runs what is left of a study, as its commands had it, through the launcher."""

import json
import shutil
from pathlib import Path

import pytest
from studies import TINY, begun, listed, missing, record

from transferlab import cli, expanding


@pytest.fixture
def launched(monkeypatch):
    """What the launcher was handed, in place of a launch."""
    found = []

    def launch(composer, job, hydra, jobs):
        configs = list(expanding.configs(composer, hydra, jobs))
        found.append((list(hydra), [Path(str(one.paths.runs), str(one.study)) for one in configs], jobs))

    monkeypatch.setattr("transferlab.retrying.launch", launch)
    return found


def words(launched):
    return [word for _, _, jobs in launched for job in jobs for word in job]


def test_what_failed_was_interrupted_or_is_missing_runs_and_nothing_else(monkeypatch, launched, capsys):
    begun(monkeypatch, "study=s", "strategy=scratch", "seed=range(5)")
    for name, status in zip(missing(capsys, "s"), ("finished", "failed", "interrupted", "diverged"), strict=False):
        record(Path("runs/s", name), status)
    assert cli.main(["retry", "s"]) == 0
    assert [word for word in words(launched) if word.startswith("seed=")] == ["seed=1", "seed=2", "seed=4"]
    launched.clear()
    assert cli.main(["retry", "s", "--only", "missing"]) == 0
    assert [word for word in words(launched) if word.startswith("seed=")] == ["seed=4"]
    launched.clear()
    listed(capsys, "retry", "s", "--dry-run")
    assert not launched


def test_the_launcher_is_the_commands_unless_another_is_given(monkeypatch, launched, capsys):
    begun(monkeypatch, "study=s", "seed=0,1", "hydra/launcher=vectorized", "+hydra.launcher.x=1")
    assert cli.main(["retry", "s"]) == 0
    assert cli.main(["retry", "s", "hydra/launcher=basic", "workers=1"]) == 0
    (first, _, _), (second, _, jobs) = launched
    assert first == ["hydra/launcher=vectorized", "+hydra.launcher.x=1"]
    assert second == ["hydra/launcher=basic"]
    assert all("workers=1" in job for job in jobs)


def test_what_would_make_another_run_is_refused(monkeypatch, launched, capsys):
    begun(monkeypatch, "study=s", "seed=0,1")
    capsys.readouterr()
    assert cli.main(["retry", "s", "optimizer.lr=0.5"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "optimizer.lr=0.5 would make other runs of 2" in line
    assert cli.main(["retry", "s", "optimizer.rate=0.5"]) == 1
    assert "there is no key 'optimizer.rate'" in capsys.readouterr().err
    assert not launched


@pytest.mark.parametrize("place", ["elsewhere/s", "runs/renamed"])
def test_a_study_that_was_moved_or_renamed_goes_on_where_it_is(place, monkeypatch, launched):
    begun(monkeypatch, "study=s", "seed=0,1")
    Path(place).parent.mkdir(exist_ok=True)
    shutil.move("runs/s", place)
    assert cli.main(["retry", place]) == 0
    ((_, folders, _),) = launched
    assert {folder.resolve() for folder in folders} == {Path(place).resolve()}


def test_a_config_that_changed_since_is_one_sentence(monkeypatch, launched, capsys):
    Path("sweeps").mkdir()
    preset = "defaults: [train, _self_]\nstudy: s\nbatch_size: 8\nhydra: {mode: MULTIRUN}"
    Path("sweeps/ours.yaml").write_text(preset)
    with monkeypatch.context() as patch:
        patch.setattr("transferlab.composing.Composer.launch", lambda *_: None)
        assert cli.main(["sweep", "ours", *[word for word in TINY if "batch" not in word], "seed=0,1"]) == 0
    assert cli.main(["retry", "s"]) == 0
    assert len(words(launched)) > 0
    Path("sweeps/ours.yaml").write_text(preset.replace("8", "9"))
    capsys.readouterr()
    assert cli.main(["retry", "s"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "would be another run now, as configs have changed" in line


def test_nothing_left_is_said(tmp_path, launched, capsys):
    record(tmp_path / "runs" / "s" / "run", "finished", 1.0)
    assert listed(capsys, "retry", "s") == ["runs/s has nothing to run again (1 run: 1 finished)"]


def test_planned_runs_are_those_that_train_and_a_run_without_a_plan_starts_from_its_config(monkeypatch, capsys):
    begun(monkeypatch, "study=s", "seed=0,1")
    planned = set(missing(capsys, "s"))
    assert cli.main(["retry", "s"]) == 0
    files = {file.parent.name: file for file in Path("runs/s").glob("*/run.json")}
    assert set(files) == planned
    assert {json.loads(file.read_text())["status"] for file in files.values()} == {"finished"}
    shutil.rmtree("runs/s/plans")
    one, other = files.values()
    told = json.loads(one.read_text())
    one.write_text(json.dumps({**told, "status": "failed", "reason": "the disk was full"}))
    before = other.stat().st_mtime_ns
    assert cli.main(["retry", "s"]) == 0
    again = json.loads(one.read_text())
    assert (again["status"], again["metrics"]) == ("finished", told["metrics"])
    assert other.stat().st_mtime_ns == before
    assert set(files) == {file.parent.name for file in Path("runs/s").glob("*/run.json")}
