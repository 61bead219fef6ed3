"""`transferlab select`: what it spends, what it chooses, that it does so again, and that it never looks at the test."""

import json
import shutil
from pathlib import Path

import pytest

from transferlab import cli, jobs
from transferlab.deciding import climbing, confirming

EPOCHS = 4
TINY = [
    *("source=digits", "target=digits", "target.labels=6", "batch_size=12", f"trainer.max_epochs={EPOCHS}"),
    *("source.pretrain.max_epochs=1", "source.pretrain.target.labels=20", "backbone.widths=[4,8]", "tracker=none"),
    *("trainer.accelerator=cpu", "choice.seeds=2", "optimizer.lr=0.1"),
]
FOUR = ["strategy=scratch,full_finetune,l2_sp,lp_ft", "budget.runs=3"]
TWO = ["strategy=scratch,full_finetune", "budget.runs=2"]


@pytest.fixture(autouse=True)
def _there(tmp_path, monkeypatch):
    for name in ("TRANSFERLAB_TRUST", "TRANSFERLAB_JOBS", "TRANSFERLAB_JOBS_BEFORE", "TRANSFERLAB_PARENT"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def select(*words: str, status: int = 0) -> Path:
    """The folder of the only selection there is."""
    assert cli.main(["select", *TINY, *words]) == status
    found = list(Path("runs/select/selection").glob("*"))
    return found[0] if found else Path()


def records(study: str = "select") -> dict[str, dict]:
    return {file.parent.name: json.loads(file.read_text()) for file in Path("runs", study).glob("*/run.json")}


def journal(folder: Path) -> dict:
    return json.loads((folder / "journal.json").read_text())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Where scratch, full_finetune and l2_sp are trained whole, under the seed of the search and two fresh ones."""
    place = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        words = [word for word in TINY if not word.startswith("choice")]
        swept = ["strategy=scratch,full_finetune,l2_sp", "seed=0,1,2", "study=select"]
        assert cli.main(["train", "-m", *words, *swept]) == 0
    return place / "runs"


@pytest.fixture
def made_up(trained, monkeypatch):
    """Validation scores as a test wants them, of runs that are there: what is chosen hangs on them alone."""
    shutil.copytree(trained, "runs")
    read = climbing.results.read
    given: dict[str, float] = {}

    def pretended(folder):
        record = read(folder)
        if record is not None and record["study"] == "select":
            value = given[record["axes"]["strategy"]]
            for row in (*record["history"], record["metrics"]["selected"] or {}):
                row["val/accuracy"] = value
        return record

    monkeypatch.setattr(climbing.results, "read", pretended)
    return given


def test_the_better_on_validation_is_chosen_and_its_config_is_a_run_that_is_done(made_up, capsys):
    made_up.update(scratch=0.2, full_finetune=0.6, l2_sp=0.9)
    before = records()
    folder = select("strategy=full_finetune,l2_sp", "budget.runs=3")
    assert "l2_sp is chosen: on validation it beats scratch" in capsys.readouterr().out
    report = (folder / "report.md").read_text()
    assert "l2_sp is chosen" in report and "| all |" in report
    assert cli.main(["train", "--config-dir", str(folder), "--config-name", "chosen"]) == 0
    assert "finished before, skipped: l2_sp" in capsys.readouterr().err
    assert records().keys() == before.keys()  # a candidate has the id that train gives it, and nothing is done twice
    assert cli.main(["train", "--config-dir", str(folder), "--config-name", "chosen", "seed=7", "study=again"]) == 0
    (record,) = records("again").values()
    assert (record["axes"]["strategy"], record["axes"]["seed"], record["config"]["optimizer"]["lr"]) == (
        "l2_sp",
        7,
        0.1,
    )


def test_where_nothing_beats_scratch_scratch_is_returned_and_said(made_up, capsys):
    made_up.update(scratch=0.5, full_finetune=0.5)
    folder = select(*TWO)
    said = f"Nothing that was tried helps: after {EPOCHS} epochs no candidate beat scratch"
    assert said in capsys.readouterr().out and said in (folder / "report.md").read_text()
    assert "strategy: scratch" in (folder / "chosen.yaml").read_text()
    assert list(journal(folder)["told"]) == ["finalist scratch"]


def test_what_wins_the_search_and_loses_under_fresh_seeds_is_not_chosen(made_up, monkeypatch, capsys):
    made_up.update(scratch=0.2, full_finetune=0.6)
    monkeypatch.setattr(confirming, "_validation", lambda record, rule: float(record["axes"]["strategy"] == "scratch"))
    select(*TWO)
    assert "under fresh seeds full_finetune did not beat scratch" in capsys.readouterr().out


def test_no_test_score_moves_the_choice(made_up, monkeypatch):
    made_up.update(scratch=0.2, full_finetune=0.6, l2_sp=0.5)
    folder = select("strategy=full_finetune,l2_sp", "budget.runs=3")
    before = journal(folder)
    shutil.rmtree(folder)
    read = climbing.results.read

    def turned(run):
        record = read(run)
        for scores in (record or {"metrics": {}})["metrics"].values():
            for key in scores or ():
                if key.startswith("test/"):
                    scores[key] = {"scratch": 1.0, "l2_sp": 0.9}.get(record["axes"]["strategy"], 0.0)
        return record

    monkeypatch.setattr(climbing.results, "read", turned)
    after = journal(select("strategy=full_finetune,l2_sp", "budget.runs=3"))
    assert after["rungs"] == before["rungs"] and after["told"].keys() == before["told"].keys()
    assert after["told"]["finalist full_finetune"]["tests"] == [0.0, 0.0]


@pytest.mark.slow
def test_the_same_command_trains_nothing_twice_and_chooses_the_same():
    folder = select(*FOUR)
    assert {record["axes"]["strategy"] for record in records().values()} > {"full_finetune", "scratch"}
    files = {file: file.stat().st_mtime_ns for file in Path("runs").rglob("run.json")}
    written = {name: (folder / name).read_text() for name in ("chosen.yaml", "report.md", "journal.json")}
    select(*FOUR)
    assert files == {file: file.stat().st_mtime_ns for file in Path("runs").rglob("run.json")}
    assert written == {name: (folder / name).read_text() for name in written}
    # without its journal too: what is decided follows from the records
    (folder / "journal.json").unlink()
    select(*FOUR)
    assert files == {file: file.stat().st_mtime_ns for file in Path("runs").rglob("run.json")}
    assert written["chosen.yaml"] == (folder / "chosen.yaml").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("at", [2, 5])
def test_interrupted_it_goes_on_and_chooses_as_if_it_never_had_been(at, monkeypatch, tmp_path, capsys):
    straight = journal(select(*FOUR))
    shutil.move("runs", "straight")
    done, count = jobs.job, iter(range(100))

    def stopped(config):
        if next(count) == at:
            raise KeyboardInterrupt
        return done(config)

    with monkeypatch.context() as patch:
        patch.setattr(jobs, "job", stopped)
        select(*FOUR, status=130)
    assert "the same command goes on" in capsys.readouterr().err
    again = journal(select(*FOUR))

    def judged(found):
        rungs = [rung["reached"].items() for rung in found["rungs"]]
        return [{name: (one["score"], one["steady"], one["epochs"]) for name, one in rung} for rung in rungs]

    assert judged(again) == judged(straight)
    for key, value in straight["told"].items():
        assert {**again["told"][key], "seconds": 0} == {**value, "seconds": 0}


@pytest.mark.slow
def test_no_more_epochs_than_the_budget_are_trained_in_the_search():
    select("strategy=scratch,full_finetune,l2_sp,lp_ft", "budget.epochs=11")
    searched = [record for record in records().values() if record["axes"]["seed"] == 0]
    assert len(searched) == 4
    assert sum(len(record["history"]) for record in searched) <= 11
    assert {record["status"] for record in searched} <= {"interrupted", "finished"}


@pytest.mark.slow
def test_seconds_are_a_budget():
    folder = select("strategy=scratch,full_finetune", "budget.seconds=600")
    assert journal(folder)["told"]["seconds"] < 600
    assert all(len(record["history"]) == EPOCHS for record in records().values())


@pytest.mark.slow
def test_without_labels_source_only_is_the_twin_and_a_rule_without_labels_chooses():
    words = ["strategy=shot", "target.labels=none", "selection=infomax", "budget.runs=2", "source=mnist5k"]
    words += ["trainer.max_epochs=2", "+trainer.limit_train_batches=3", "source.pretrain.target.labels=10"]
    given = {word.partition("=")[0] for word in words}
    assert cli.main(["select", *(word for word in TINY if word.partition("=")[0] not in given), *words]) == 0
    assert {record["axes"]["strategy"] for record in records().values()} == {"source_only", "shot"}
    (report,) = Path("runs/select/selection").glob("*/report.md")
    assert "They were judged by selection=infomax" in report.read_text()


def test_one_that_fails_is_given_up_and_named(trained, capsys):
    shutil.copytree(trained, "runs")
    folder = select("strategy=full_finetune,vpt", "budget.runs=3")
    assert "| vpt | failed |" in (folder / "report.md").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["strategy=l2_sp"], "give one budget: budget.runs=8"),
        (["strategy=l2_sp", "budget.runs=2", "budget.epochs=3"], "give one budget"),
        (["strategy=l2_sp", "budget.runs=-1"], "budget.runs=-1: a number above 0"),
        (["strategy=l2_sp", "budget.epochs=1"], "too small to choose by"),
        (["strategy=scratch", "budget.runs=2"], "there is one candidate alone"),
        (["strategy=l2_sp", "budget.runs=2", "seed=0,1"], "seed has several values (0, 1)"),
        (["strategy=l2_sp", "budget.runs=2", "selection=oracle"], "chooses by test labels"),
        (["strategy=l2_sp", "budget.runs=2", "selection=last"], "says nothing of which run is better"),
        (["strategy=l2_sp", "budget.runs=2", "choice.factor=1"], "choice.factor=1: a whole number, at least 2"),
        (["strategy=l2_spp", "budget.runs=2"], "did you mean 'l2_sp'?"),
        (["strategy=l2_sp", "budget.rums=2"], "did you mean 'runs'?"),
        (["strategy=l2_sp", "budget.runs=2", "twins=true"], "always among the candidates"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_is_said_before_anything_trains(words, said, capsys):
    select(*words, status=1)
    assert said in capsys.readouterr().err
    assert not records()


SEVERAL = ["strategy=full_finetune", "source=digits,mnist5k", "budget.runs=4", "choice.keep=1"]


def pairs(folder: Path) -> dict:
    return journal(folder)["told"]["pairs"]


@pytest.mark.slow
def test_the_best_pairs_by_score_enter_and_the_others_are_named_with_theirs():
    folder = select(*SEVERAL)
    scores = pairs(folder)["scores"]
    assert set(scores) == {"digits/convnet", "mnist5k/convnet"}
    best = max(scores, key=scores.get)
    entered = {record["axes"]["source"] for record in records().values() if record["axes"]["strategy"] != "scratch"}
    assert entered == {best.partition("/")[0]}
    assert {"scratch", "full_finetune"} == {record["axes"]["strategy"] for record in records().values()}
    report = (folder / "report.md").read_text()
    assert "Of 2 pairs of source and backbone 1 entered, the best by logme (more is better)" in report
    assert "logme of pairs" in report
    before = pairs(folder)
    select(*SEVERAL)
    assert pairs(folder) == before


@pytest.mark.slow
def test_of_a_distance_the_nearest_enters():
    folder = select(*SEVERAL, "score@choice.score=mean_distance")
    scores = pairs(folder)["scores"]
    entered = {record["axes"]["source"] for record in records().values() if record["axes"]["strategy"] != "scratch"}
    assert entered == {min(scores, key=scores.get).partition("/")[0]}


def test_as_many_pairs_as_are_kept_are_not_scored(trained):
    shutil.copytree(trained, "runs")
    assert "pairs" not in journal(select(*TWO, "choice.keep=1"))["told"]
