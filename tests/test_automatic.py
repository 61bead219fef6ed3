"""`strategy=auto`: a run that chooses its strategy first, by validation, and ends as the run of what it chose."""

import json
from pathlib import Path

import pytest

from records import alike, whole
from transferlab import automatic, cli, results
from transferlab.record import summary

EPOCHS = 4
TINY = [
    *("source=digits", "target=digits", "target.labels=6", "batch_size=12", f"trainer.max_epochs={EPOCHS}"),
    *("source.pretrain.max_epochs=1", "source.pretrain.target.labels=20", "backbone.widths=[4,8]", "tracker=none"),
    "trainer.accelerator=cpu",
]
AUTO = [
    "strategy=auto",
    "~strategy.candidates.lp_ft",
    "~strategy.candidates.l2_sp",
    "~strategy.candidates.linear_probe",
]
AUTO += ["strategy.rates=[0.1]", "strategy.runs=2"]


@pytest.fixture(autouse=True)
def _there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def train(*words: str, study: str = "s", status: int = 0) -> Path:
    assert cli.main(["train", *TINY, *words, f"study={study}"]) == status
    (file,) = Path("runs", study).glob("*/run.json")
    return file


def judge_by(monkeypatch, **scores: float) -> None:
    """What each strategy's candidates score, whatever they learned."""
    judged = automatic._Climb._reached

    def pretended(climb, name, epochs):
        found = judged(climb, name, epochs)
        score = scores[climb.candidates[name][0]]
        return type(found)(score, score, found.epochs)

    monkeypatch.setattr(automatic._Climb, "_reached", pretended)


def test_it_ends_as_the_run_of_what_it_chose_under_an_id_of_its_own(monkeypatch):
    judge_by(monkeypatch, scratch=0.2, full_finetune=0.7)
    auto = train(*AUTO)
    record = json.loads(auto.read_text())
    assert record["status"] == "finished" and record["axes"]["strategy"] == "auto"
    assert record["chosen"]["strategy"] == "full_finetune" and record["chosen"]["optimizer.lr"] == 0.1
    assert record["chosen"]["transfers"] is True
    assert record["chosen"]["reason"].startswith("full_finetune optimizer.lr=0.1: after 4 epochs its score is 0.7000")
    assert summary(record)["chosen"] == record["chosen"], "the tracker is told too"
    plain = train("strategy=full_finetune", "optimizer.lr=0.1", study="plain")
    alike(whole(auto), whole(plain), exactly=True)
    assert auto.parent.name != plain.parent.name
    candidates = {file.parent.name for file in Path("runs", results.CANDIDATES).glob("*/run.json")}
    assert plain.parent.name in candidates and set(record["chosen"]["candidates"]) == candidates
    # the search is part of what it cost
    assert record["cost"]["seconds"] > record["chosen"]["seconds"] > 0
    assert record["chosen"]["epochs"] <= 2 * EPOCHS


def test_where_nothing_beats_scratch_it_is_scratch(monkeypatch, capsys):
    judge_by(monkeypatch, scratch=0.7, full_finetune=0.7)
    record = json.loads(train(*AUTO).read_text())
    assert record["chosen"]["strategy"] == "scratch" and record["chosen"]["transfers"] is False
    assert record["data"]["source_weights"] is None
    assert "no transfer is chosen" in capsys.readouterr().err


@pytest.mark.slow
def test_the_same_command_is_done_and_its_saved_config_is_the_same_run(capsys):
    first = train(*AUTO)
    before = first.read_bytes()
    assert train(*AUTO).read_bytes() == before
    assert "finished before, skipped" in capsys.readouterr().err
    saved = ["train", "--config-dir", str(first.parent), "--config-name", "config", "paths.runs=again"]
    assert cli.main(saved) == 0
    (again,) = Path("again/s").glob("*/run.json")
    assert again.parent.name == first.parent.name
    alike(whole(again), whole(first), exactly=True)


@pytest.mark.slow
def test_stopped_while_it_searches_it_goes_on(monkeypatch):
    straight = whole(train(*AUTO, "strategy.runs=1.5", study="straight"))
    from transferlab import train as room

    done, count = room.run, iter(range(100))

    def stopped(config):
        if config.study == results.CANDIDATES and next(count) == 1:
            raise KeyboardInterrupt
        return done(config)

    for file in Path("runs", results.CANDIDATES).glob("*/run.json"):
        file.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(room, "run", stopped)
        assert json.loads(train(*AUTO, "strategy.runs=1.5", status=130).read_text())["status"] == "interrupted"
    found = whole(train(*AUTO, "strategy.runs=1.5"))
    alike(found, straight, exactly=True)
    assert {**found["chosen"], "seconds": 0} == {**straight["chosen"], "seconds": 0}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["strategy=auto", "~strategy.candidates.scratch"], "scratch must be among several"),
        (["strategy=auto", "strategy.runs=0.1"], "too small to choose by"),
        (["strategy=auto", "strategy.runs=0"], "strategy.runs=0: a number above 0"),
        (["strategy=auto", "selection=last"], "says nothing of which run is better"),
        (["strategy=auto", "target.labels=none", "source=mnist5k", "selection=infomax"], "source_only must be among"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_chosen_from_is_said_and_recorded(words, said, capsys):
    assert cli.main(["train", *TINY, *words, "study=s"]) == 1
    assert said in capsys.readouterr().err
    (file,) = Path("runs/s").glob("*/run.json")
    assert json.loads(file.read_text())["status"] == "failed"
    assert not Path("runs", results.CANDIDATES).exists()
