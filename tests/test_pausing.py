"""A run that pauses goes on as the run that never did, bit for bit, under the same id."""

import json
from pathlib import Path

import pytest

from digit_runs import EPOCHS, words
from records import alike, whole
from transferlab import cli


@pytest.fixture(autouse=True)
def _there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def train(strategy: str, study: str, *more: str, status: int = 0) -> Path:
    assert cli.main(words(strategy, f"study={study}", *more)) == status
    (file,) = Path("runs", study).glob("*/run.json")
    return file


@pytest.mark.parametrize("strategy", ["l2_sp", "gradual_unfreezing"])
def test_a_run_that_paused_twice_ends_as_one_that_never_did(strategy):
    for epochs in (1, 1, 3):  # the second time nothing is left to do
        file = train(strategy, "pausing", f"pause_at={epochs}")
        record = json.loads(file.read_text())
        assert record["status"] == "interrupted" and record["reason"].startswith(f"paused after epoch {epochs} of")
        assert len(record["history"]) == epochs
        assert record["metrics"]["selected"] is None  # nothing was tested
        assert record["config"]["pause_at"] is None
    paused, straight = train(strategy, "pausing"), train(strategy, "straight")
    assert paused.parent.name == straight.parent.name
    alike(whole(paused), whole(straight), exactly=True)


def test_a_pause_behind_the_end_is_none():
    assert json.loads(train("linear_probe", "s", f"pause_at={EPOCHS}").read_text())["status"] == "finished"


def test_a_pause_before_the_beginning_is_refused(capsys):
    assert cli.main(words("linear_probe", "pause_at=0")) == 1
    assert "pause_at=0: a number of epochs" in capsys.readouterr().err


def test_a_run_that_pauses_is_not_trained_together_with_others():
    more = ("seed=0,1", "hydra/launcher=vectorized", "pause_at=2", "study=s")
    command, *rest = words("linear_probe", *more)
    assert cli.main([command, "-m", *rest]) == 0
    records = [json.loads(file.read_text()) for file in Path("runs/s").glob("*/run.json")]
    assert [len(record["history"]) for record in records] == [2, 2]
