"""`hydra/sweeper=optuna` by the real command: equal budgets, honest scores, fresh seeds, nothing lost or twice."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from searched import BATCHES, RATES, WORDS, of, records, search, states, trials

from transferlab import cli, train

pytestmark = pytest.mark.slow

# in the second step of the second epoch the process is killed, or the run fails, where `flag` is
OPTIMIZERS = f"""
import os, signal
from pathlib import Path
from torch.optim import SGD

class Fated(SGD):
    def __init__(self, parameters, flag, **settings):
        super().__init__(parameters, **settings)
        self.flag, self.steps = Path(flag), 0

    def step(self, closure=None):
        self.steps += 1
        if self.steps == {BATCHES} + 2 and self.flag.exists():
            self.flag.unlink()
            self.fate()
        return super().step(closure)

class Killed(Fated):
    def fate(self):
        os.kill(os.getpid(), signal.SIGKILL)

class Fails(Fated):
    def fate(self):
        raise RuntimeError("a broken step")
"""
JOBLIB = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweeper.n_jobs=2")


def fated(name: str) -> tuple[str, ...]:
    Path("optimizers.py").write_text(OPTIMIZERS)
    sys.modules.pop("optimizers", None)  # another test's
    flag = Path("flag").resolve()
    return ("--trust", "optimizers", f"optimizer._target_=optimizers.{name}", f"+optimizer.flag={flag}")


@pytest.mark.parametrize("launcher", [(), JOBLIB], ids=["basic", "joblib"])
def test_each_strategy_has_the_same_trials_of_one_seed_scored_by_its_selection_rule(launcher, capsys) -> None:
    assert search("seed=5", *launcher, strategies="scratch,full_finetune", trials=2) == 0
    assert states() == {"scratch": ["COMPLETE"] * 2, "full_finetune": ["COMPLETE"] * 2}
    found = {of(record): record for record in records()}
    assert len(found) == 4
    assert {record["axes"]["seed"] for record in found.values()} == {5}
    for strategy, mine in trials().items():
        assert mine[0].params == {"optimizer.lr": 0.01}, "the first has the defaults"
        for trial in mine:
            record = found[strategy, trial.params["optimizer.lr"]]
            assert trial.value == -record["metrics"]["selected"]["val/loss"]
            losses = [row["val/loss"] for row in record["history"]]
            assert trial.intermediate_values == {1: -losses[0], 2: -min(losses)}
    assert "searched full_finetune none->digits convnet: -2." in capsys.readouterr().err


def test_the_same_command_does_nothing_again_and_more_trials_go_on_from_those(monkeypatch, capsys) -> None:
    assert search(trials=2) == 0
    before = [trial.params for trial in trials()["scratch"]]
    with monkeypatch.context() as patch:
        patch.setattr(train, "fit", lambda *_: pytest.fail("it trains again"))
        assert search(trials=2) == 0
    assert search(trials=4) == 0
    after = [trial.params for trial in trials()["scratch"]]
    assert (after[:2], len(after), len(records())) == (before, 4, 4)
    shutil.rmtree("runs")
    assert search(trials=4) == 0
    assert [trial.params for trial in trials()["scratch"]] == after, "in one go it draws the same"


def test_runs_that_are_over_are_told_to_a_search_that_lost_its_storage(monkeypatch) -> None:
    assert search(trials=2) == 0
    before = [(trial.params, trial.value, trial.intermediate_values) for trial in trials()["scratch"]]
    Path("runs/s/optuna.db").unlink()
    monkeypatch.setattr(train, "fit", lambda *_: pytest.fail("it trains again"))
    assert search(trials=2) == 0
    assert [(trial.params, trial.value, trial.intermediate_values) for trial in trials()["scratch"]] == before


def test_a_search_that_is_killed_takes_its_trial_up_where_it_was() -> None:
    words = (*fated("Killed"), "hydra.sweeper.n_trials=3", "hydra/sweeper=optuna", "strategy=scratch", "study=s")
    Path("flag").touch()
    command = [sys.executable, "-m", "transferlab.cli", "train", "-m", *WORDS, RATES, *words]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert states() == {"scratch": ["RUNNING"]}
    assert cli.main(command[3:]) == 0
    killed = [(trial.state.name, trial.params, trial.intermediate_values) for trial in trials()["scratch"]]
    assert [state for state, _, _ in killed] == ["COMPLETE"] * 3
    assert len(records()) == 3
    shutil.rmtree("runs")
    assert cli.main(command[3:]) == 0
    assert [(one.state.name, one.params, one.intermediate_values) for one in trials()["scratch"]] == killed


@pytest.mark.parametrize("fate", ["Killed", "Fails"])
def test_a_trial_that_dies_in_a_process_costs_no_other_and_is_taken_up(fate: str, capfd) -> None:
    words = (*fated(fate), *JOBLIB)
    Path("flag").touch()
    assert search(*words, trials=4) == 1
    said = capfd.readouterr().err
    assert ("was ended by SIGKILL" if fate == "Killed" else "a broken step") in said
    assert sorted(states()["scratch"]) == ["COMPLETE"] * 3 + ["RUNNING"]
    assert search(*words, "hydra.sweeper.fresh_seeds=1", trials=4) == 0
    assert states() == {"scratch": ["COMPLETE"] * 4}
    assert [record["status"] for record in records()] == ["finished"] * 4
    assert len(records("s_fresh")) == 1


def test_fresh_seeds_wait_for_trials_that_have_not_ended(capsys) -> None:
    Path("flag").touch()
    assert search(*fated("Fails"), "hydra.sweeper.fresh_seeds=2", trials=2) == 1
    assert "fresh seeds wait until all trials have ended" in capsys.readouterr().err
    assert not Path("runs/s_fresh").exists()


def test_the_best_of_each_strategy_runs_on_seeds_that_no_trial_had_in_a_study_of_its_own(capsys) -> None:
    words = ("seed=1", "hydra.sweeper.fresh_seeds=3")
    assert search(*words, strategies="scratch,full_finetune", trials=2) == 0
    best = {
        strategy: max(mine, key=lambda one: one.value).params["optimizer.lr"] for strategy, mine in trials().items()
    }
    found = records("s_fresh")
    assert {of(record) for record in found} == {*best.items()}
    for strategy in best:
        assert sorted(one["axes"]["seed"] for one in found if one["axes"]["strategy"] == strategy) == [0, 2, 3]
    assert {record["axes"]["seed"] for record in records()} == {1}
    capsys.readouterr()
    assert cli.main(["compare", "s_fresh"]) == 0
    rows = [
        line.split() for line in capsys.readouterr().out.splitlines() if line.startswith(("scratch ", "full_finetune "))
    ]
    assert sorted(row[:2] for row in rows[:2]) == [["full_finetune", "3"], ["scratch", "3"]]


def test_a_run_that_diverges_is_a_trial_without_a_score() -> None:
    assert search("optimizer.lr=choice(0.01,1e30)", "hydra/sweeper/sampler=random", trials=6) == 0
    for trial in trials()["scratch"]:
        assert trial.state.name == ("COMPLETE" if trial.params["optimizer.lr"] == "0.01" else "PRUNED")
    assert {record["status"] for record in records()} == {"finished", "diverged"}


def test_a_search_of_other_settings_is_refused_and_another_name_is_not(capsys) -> None:
    assert search(trials=1) == 0
    capsys.readouterr()
    assert search("batch_size=20", trials=1) == 1
    assert "has other settings or another space" in capsys.readouterr().err
    assert search("batch_size=20", "hydra.sweeper.study_name=other", trials=1) == 0


def test_a_journal_keeps_a_search_too() -> None:
    log = Path("trials.log").resolve()
    assert search(f"hydra.sweeper.storage={log}", trials=2) == 0
    assert log.exists() and not Path("runs/s/optuna.db").exists()
    assert search(f"hydra.sweeper.storage={log}", trials=2) == 0
    assert len(records()) == 2


def test_two_commands_of_the_same_search_do_each_trial_once() -> None:
    words = ["train", "-m", *WORDS, RATES, "hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "strategy=scratch"]
    command = [sys.executable, "-m", "transferlab.cli", *words, "study=s"]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ}) for _ in range(2)]
    said = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert states() == {"scratch": ["COMPLETE"] * 2}
    assert sum(text.count("test/accuracy") for text in said) == 2
