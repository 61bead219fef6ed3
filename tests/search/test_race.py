"""`hydra/sweeper=halving` by the real command: one rule for all, nothing settled early, lost or done twice."""

from collections import Counter
from collections.abc import Callable
from itertools import pairwise, product
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from searched import WORDS, of, records

from records import alike, whole
from transferlab import cli, racing, results, train
from transferlab.errors import InputError
from transferlab.halving.brackets import race
from transferlab.halving.judging import judged

STRATEGIES, RATES, RUNGS = ("scratch", "full_finetune", "linear_probe"), (0.01, 0.1, 1.0), (1, 3, 9)
LISTS = (f"strategy={','.join(STRATEGIES)}", f"optimizer.lr={','.join(map(str, RATES))}")
RACE = ("hydra/sweeper=halving", *LISTS, f"trainer.max_epochs={RUNGS[-1]}")
NINE = {*product(STRATEGIES, RATES)}
EPOCHS = 9 * 1 + 3 * 2 + 1 * 6


def run(*words: str, study: str = "s") -> int:
    return cli.main(["train", "-m", *WORDS, *RACE, f"study={study}", *words])


def watched(monkeypatch: pytest.MonkeyPatch, stop: Callable[[int], bool] = lambda _: False) -> list[tuple[Any, Any]]:
    """What is trained, and to which epoch, in its order; Ctrl-C at the calls that `stop` names."""
    done, seen = train.run, []

    def spied(config: Any) -> Any:
        seen.append(((config.axes.strategy, config.optimizer.lr), config.pause_at or config.trainer.max_epochs))
        if stop(len(seen)):
            raise KeyboardInterrupt
        return done(config)

    monkeypatch.setattr(train, "run", spied)
    return seen


def peaceful(study: str = "peace") -> dict[str, Any]:
    assert run(study=study) == 0
    return told(study)


def told(study: str) -> dict[str, Any]:
    """What there is to say of each run of a race, but times."""
    return {one["run_id"]: (one["status"], one["reason"], one["history"], one["metrics"]) for one in records(study)}


@pytest.mark.slow
def test_nobody_is_dropped_before_each_strategy_had_its_first_rung_at_each_rate(monkeypatch, capsys) -> None:
    seen = watched(monkeypatch)
    assert run() == 0
    assert {epochs for _, epochs in seen[:9]} == {RUNGS[0]} and {one for one, _ in seen[:9]} == NINE
    assert [epochs for _, epochs in seen[9:]] == [3, 3, 3, 9]
    found = records()
    assert sum(len(one["history"]) for one in found) == EPOCHS
    assert f"found in {EPOCHS} epochs of the 81 that all candidates take" in capsys.readouterr().err
    assert Counter(one["status"] for one in found) == {"pruned": 8, "finished": 1}
    assert {one["axes"]["seed"] for one in found} == {0}
    for one in found:
        if one["status"] == "pruned":
            left = {file.name for file in Path("runs/s", one["run_id"]).iterdir()}
            assert not left & {*results.PASSING, "selected.pt", "last.pt"}
            epochs = len(one["history"])
            unit = "epoch" if epochs == 1 else "epochs"
            assert one["reason"] == f"broken off after {epochs} {unit} by SuccessiveHalvingPruner"

    # the best third of each rung goes on, whatever strategy it has
    going = found
    for before, epochs in pairwise((0, *RUNGS[:-1])):
        scores = {one["run_id"]: [-row["val/loss"] for row in one["history"][:epochs]] for one in going}
        ranks = {run: (max(score), fmean(score[before:])) for run, score in scores.items()}
        passed = {one["run_id"] for one in going if len(one["history"]) > epochs}
        best = sorted(ranks.values(), reverse=True)[: (len(going) + 1) // 3]
        assert sorted((ranks[run] for run in passed), reverse=True) == best
        going = [one for one in going if one["run_id"] in passed]

    assert cli.main(["status", "s"]) == 0
    said = capsys.readouterr().out
    assert "9 runs: 1 finished, 8 pruned" in said and "search race none->digits convnet: 9 of 9 trials begun" in said
    assert cli.main(["retry", "s", "--dry-run"]) == 0
    assert "0 would run again" in capsys.readouterr().out
    assert cli.main(["compare", "s"]) == 0
    assert "  pruned: 8\n" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("call", [4, 11], ids=["first rung", "second rung"])
def test_a_race_that_is_stopped_goes_on_as_if_it_had_not_been(call: int, monkeypatch) -> None:
    straight = peaceful()
    with monkeypatch.context() as patch:
        watched(patch, lambda number: number == call)
        assert run() == 130
    seen = watched(monkeypatch)
    assert run() == 0
    assert len(seen) == 9 + 3 + 1 - (call - 1), "nothing is trained twice"
    assert told("s") == straight
    for one in Path("runs/s").glob("*/last.pt"):
        alike(whole(one.parent / "run.json"), whole(Path("runs/peace", one.parent.name, "run.json")), exactly=True)
    seen.clear()
    assert run() == 0 and not seen and told("s") == straight


@pytest.mark.slow
def test_a_race_that_is_stopped_while_it_gives_up_gives_up_the_same(monkeypatch) -> None:
    straight, gave, count = peaceful(), racing._give_up, iter(range(100))

    def stopped(folder: Path) -> None:
        if next(count) == 2:
            raise KeyboardInterrupt
        gave(folder)

    with monkeypatch.context() as patch:
        patch.setattr(racing, "_give_up", stopped)
        assert run() == 130
    assert Counter(one["status"] for one in records()) == {"pruned": 2, "interrupted": 7}
    assert run() == 0
    assert told("s") == straight


@pytest.mark.slow
def test_several_processes_decide_the_same() -> None:
    straight = peaceful()
    assert run("hydra/launcher=joblib", "hydra.launcher.n_jobs=2") == 0
    assert told("s") == straight


@pytest.mark.slow
def test_a_candidate_that_fails_or_diverges_is_given_up_and_the_others_race_on(monkeypatch, capsys) -> None:
    fitted = train.fit

    def broken(trainer: Any, module: Any, data: Any, resume: Path, *more: Any) -> bool:
        if of(results.read(resume.parent) or {}) == ("scratch", 0.01):
            raise InputError("a broken net")
        return fitted(trainer, module, data, resume, *more)

    monkeypatch.setattr(train, "fit", broken)
    assert run("optimizer.lr=0.01,0.1,1e30") == 1
    said = capsys.readouterr().err
    assert "a broken net" in said and "found in" in said
    states = {of(one): one["status"] for one in records()}
    assert states["scratch", 0.01] == "failed"
    assert {state for (_, rate), state in states.items() if rate == 1e30} == {"diverged"}
    assert Counter(states.values())["finished"] == 1
    monkeypatch.undo()
    assert run("optimizer.lr=0.01,0.1,1e30") == 0, "what failed is tried again"
    assert {of(one): one["status"] for one in records()}["scratch", 0.01] in ("pruned", "finished")


@pytest.mark.slow
def test_the_best_of_each_strategy_at_the_last_rung_runs_on_seeds_that_no_candidate_had(capsys) -> None:
    words = ("strategy=scratch,full_finetune", "optimizer.lr=0.01,0.1", "trainer.max_epochs=2", "seed=1")
    assert run(*words, "hydra.sweeper.factor=2", "--fresh", "2") == 0
    best: dict[str, tuple[float, float]] = {}
    for one in records():
        if one["status"] == "finished":
            strategy, rate = of(one)
            score = max(-row["val/loss"] for row in one["history"])
            best[strategy] = max(best.get(strategy, (-9e9, 0.0)), (score, rate))
    fresh = records("s_fresh")
    assert {of(one) for one in fresh} == {(strategy, rate) for strategy, (_, rate) in best.items()}
    assert Counter(one["axes"]["seed"] for one in fresh) == {0: len(best), 2: len(best)}
    assert {one["status"] for one in fresh} == {"finished"}


@pytest.mark.slow
def test_each_source_target_and_label_budget_has_a_race_of_its_own() -> None:
    words = ("target.labels=6,8", "strategy=scratch,full_finetune", "trainer.max_epochs=2", "hydra.sweeper.factor=2")
    assert run(*words) == 0
    spent = Counter((one["config"]["target"]["labels"], one["status"]) for one in records())
    # of six 3 go on
    assert spent == {(labels, state): 3 for labels in (6, 8) for state in ("finished", "pruned")}


def test_a_rehearsal_lists_every_candidate_and_asks_the_launcher_nothing(monkeypatch, capsys) -> None:
    monkeypatch.setattr(BasicLauncher, "launch", lambda *_, **__: pytest.fail("it launches"))
    assert run("--dry-run", "hydra.sweeper.fresh_seeds=3") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "race none->digits convnet: 9 -> 3 -> 1 candidates are trained to 1 -> 3 -> 9 epochs"
    listed = [line.split() for line in said if line.startswith("missing")]
    assert {(words[2], float(words[-1].partition("=")[2])) for words in listed} == NINE
    assert f"9 runs: 9 missing; {EPOCHS} epochs are left of {EPOCHS}, where whole runs of all have 81" in said
    assert "then the best of each strategy at the last rung on 3 fresh seeds, in the study s_fresh" in said
    assert not Path("runs").exists()


@pytest.mark.slow
def test_a_rehearsal_in_the_middle_says_what_is_left_and_how_long_that_takes(monkeypatch, capsys) -> None:
    assert run("optimizer.lr=0.05", "hydra/sweeper=basic", study="earlier") == 0  # whole runs, by which time is known
    with monkeypatch.context() as patch:
        watched(patch, lambda number: number == 11)
        assert run() == 130
    before = sorted(Path("runs").rglob("*"))
    capsys.readouterr()
    assert run("--dry-run") == 0
    said = capsys.readouterr().out
    assert "3 interrupted" in said and "6 pruned" in said
    assert f"; {EPOCHS - 9 - 2} epochs are left of {EPOCHS}" in said
    assert "time left: about" in said and "3 by finished runs of other studies" in said
    assert sorted(Path("runs").rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["seed=0,1"], "seed=0,1: a seed is never searched"),
        (["optimizer.lr=interval(0.01,0.1)"], "a race tries every value that is listed"),
        (["trainer.max_epochs=4,8"], "judged after as many epochs of runs of one length"),
        (["strategy=scratch", "optimizer.lr=0.1"], "there is one candidate alone"),
        (["hydra.sweeper.factor=1"], "hydra.sweeper.factor=1: a whole number from 2 on"),
        (["hydra.sweeper.first=10"], "first epochs from 1 to 9"),
        (["--fresh", "-1"], "hydra.sweeper.fresh_seeds=-1: a whole number from 0 on"),
        (["strategy=scratch,l3_sp"], "did you mean 'l2_sp'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_raced_is_one_sentence_before_anything_is_written(words: list[str], said: str, capsys) -> None:
    assert run(*words) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not Path("runs/s").exists() or not list(Path("runs/s").iterdir())


def test_a_rule_that_cannot_judge_is_refused(capsys) -> None:
    assert run("selection=oracle") == 1
    assert "selection=oracle chooses by test labels" in capsys.readouterr().err
    assert cli.main(["train", "-m", *RACE, "selection=last"]) == 1
    assert "selection=last gives an epoch no score" in capsys.readouterr().err


def test_what_becomes_of_a_run_behind_a_rung_does_not_change_what_it_was_there() -> None:
    def score(row: Any) -> float:
        return float(row["val"])

    rows = [{"val": value} for value in (0.1, 0.4, 0.3)]
    record = {"status": "interrupted", "reason": "", "history": rows[:2], "config": {"trainer": {"max_epochs": 9}}}
    then = judged(record, "a", score, 2)
    for status in ("failed", "diverged", "pruned", "interrupted"):
        assert judged({**record, "status": status, "history": rows}, "a", score, 2) == then
    for status in ("failed", "diverged"):
        assert judged({**record, "status": status}, "a", score, 3).rank == (-float("inf"), -float("inf"))
    with pytest.raises(InputError, match="the same command goes on from here"):
        judged(record, "a", score, 3)


@pytest.mark.parametrize(
    ("candidates", "whole", "factor", "first"), list(product((2, 9, 30), (4, 9, 36), (2, 3), (1, 4)))
)
def test_a_plan_has_room_for_all_at_the_first_rung_and_ends_with_whole_runs(
    candidates: int, whole: int, factor: int, first: int
) -> None:
    plan = race(candidates, whole, factor, first)
    assert plan.going[0] == candidates and plan.rungs[-1] == whole and plan.rungs[0] >= first
    assert all(more == max(1, (here + 1) // factor) or more == here for here, more in pairwise(plan.going))
    assert plan.epochs <= candidates * whole
