"""A trial that falls behind is broken off as the pruner's formula says, in whatever process, and recorded as pruned."""

import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig
from searched import RATES, WORDS, of, records, search, states, trials

from transferlab import cli, results, train
from transferlab.composing import Composer
from transferlab.folders import shipped
from transferlab.search.trials import opened

SWEEPER = shipped("conf") / "hydra" / "sweeper"
NAMES = [sorted(file.stem for file in (SWEEPER / part).glob("*.yaml")) for part in ("sampler", "pruner")]
PARTS = list(product(*NAMES))
HALVING = ("hydra/sweeper/pruner=successive_halving", "hydra.sweeper.pruner.reduction_factor=2")
# no score of these runs is above 0
AT_ONCE = ("hydra.sweeper.pruner._target_=optuna.pruners.ThresholdPruner", "+hydra.sweeper.pruner.lower=0")


@pytest.mark.parametrize(("sampler", "pruner"), PARTS)
def test_every_sampler_and_pruner_is_what_optuna_makes_of_its_yaml(sampler: str, pruner: str) -> None:
    with Composer() as composer:
        words = ["hydra/sweeper=optuna", f"hydra/sweeper/sampler={sampler}", f"hydra/sweeper/pruner={pruner}"]
        master = composer.config([*words, "hydra.mode=MULTIRUN", "trainer.max_epochs=9"], multirun=True)
        HydraConfig.instance().set_config(master)
        study = opened(master.hydra.sweeper, f"sqlite:///{Path('x.db').resolve()}", "a", create=True)
    for part, made in (("sampler", study.sampler), ("pruner", study.pruner)):
        target = master.hydra.sweeper[part]["_target_"]
        assert f"{type(made).__name__}" == target.rpartition(".")[2]
    assert study.direction.name == "MAXIMIZE"


@pytest.mark.slow
def test_successive_halving_breaks_off_what_its_formula_says_and_nothing_else(monkeypatch, capsys) -> None:
    words = ("trainer.max_epochs=4", *HALVING)
    assert search(*words, trials=6) == 0
    reached: dict[int, list[float]] = {1: [], 2: []}
    for trial in trials()["scratch"]:
        ends = 4
        for rung, others in reached.items():
            others.append(trial.intermediate_values[rung])
            last = sorted(others, reverse=True)[max(len(others) // 2 - 1, 0)]
            if others[-1] < last:
                ends = rung
                break
        assert max(trial.intermediate_values) == ends
        assert trial.state.name == ("COMPLETE" if ends == 4 else "PRUNED")
    assert {*states()["scratch"]} == {"COMPLETE", "PRUNED"}, "nothing is shown"

    by_rate = {trial.params["optimizer.lr"]: trial for trial in trials()["scratch"]}
    pruned = [record for record in records() if record["status"] == "pruned"]
    assert len(pruned) == states()["scratch"].count("PRUNED")
    for record in pruned:
        values = by_rate[of(record)[1]].intermediate_values
        epochs = len(values)
        assert record["reason"].startswith(f"broken off after {epochs} epoch")
        assert record["reason"].endswith("by SuccessiveHalvingPruner")
        assert [-row["val/loss"] for row in record["history"]][:1] == [values[1]]
        assert len(record["history"]) == epochs
        assert record["cost"]["samples"] == 50 * epochs
        assert record["metrics"]["selected"] is None
        left = {file.name for file in Path("runs/s", record["run_id"]).iterdir()}
        assert not left & {*results.PASSING, "selected.pt", "last.pt"}

    capsys.readouterr()
    assert search(*words, trials=6) == 0
    assert "test/accuracy" not in capsys.readouterr().err, "nothing is tried again"
    before = [(trial.state, trial.intermediate_values) for trial in trials()["scratch"]]
    Path("runs/s/optuna.db").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(train, "fit", lambda *_: pytest.fail("it trains again"))
        assert search(*words, trials=6) == 0
    assert [(trial.state, trial.intermediate_values) for trial in trials()["scratch"]] == before
    capsys.readouterr()
    assert cli.main(["status", "s"]) == 0
    said = capsys.readouterr().out
    assert f"6 runs: {6 - len(pruned)} finished, {len(pruned)} pruned" in said
    assert "time left" not in said
    assert cli.main(["retry", "s", "--dry-run"]) == 0
    assert capsys.readouterr().out == "no runs; 0 would run again\n"
    assert cli.main(["compare", "s", "--by", "optimizer.lr"]) == 0
    assert f"  pruned: {len(pruned)}\n" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_a_run_is_broken_off_wherever_it_is_its_sources_is_not_and_another_command_runs_it_whole(launcher: str) -> None:
    source = ("source=digits", "source.pretrain.max_epochs=2", "source.pretrain.target.labels=10")
    words = [*source, "strategy.start=source"]
    where = (f"hydra/launcher={launcher}", "hydra.sweeper.n_jobs=2")
    where += ("hydra.launcher.n_jobs=2",) if launcher == "joblib" else ()
    assert search(*words, *AT_ONCE, *where, strategies="full_finetune", trials=2) == 0
    assert states() == {"full_finetune": ["PRUNED"] * 2}
    first, second = records()
    assert {first["reason"], second["reason"]} == {"broken off after 1 epoch by ThresholdPruner"}
    (pretraining,) = records("pretraining")
    assert (pretraining["status"], len(pretraining["history"])) == ("finished", 2)

    rate = f"optimizer.lr={of(first)[1]}"
    assert cli.main(["train", *WORDS, *words, "strategy=full_finetune", "study=s", rate]) == 0
    again = {record["run_id"]: record["status"] for record in records()}
    assert again == {first["run_id"]: "finished", second["run_id"]: "pruned"}


@pytest.mark.slow
def test_runs_that_train_together_are_not_broken_off_and_report_their_epochs_when_they_are_over() -> None:
    words = ["train", "-m", *WORDS, RATES, "hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "study=s"]
    words += ["strategy=linear_probe", "cache=on", "hydra/launcher=vectorized", "hydra.sweeper.n_jobs=3", *AT_ONCE]
    # in a process of its own: behind this launcher Hydra's configs cannot be pickled for others any more
    done = subprocess.run([sys.executable, "-m", "transferlab.cli", *words], capture_output=True, text=True, check=True)
    assert "3 runs together" in done.stderr
    for trial in trials()["linear_probe"]:
        assert trial.state.name == "COMPLETE"
        assert sorted(trial.intermediate_values) == [1, 2]
        assert trial.value == max(trial.intermediate_values.values())


@pytest.mark.slow
def test_a_rehearsal_says_what_is_found_and_left_and_neither_writes_nor_draws(capsys) -> None:
    words = ["train", "-m", *WORDS, RATES, "hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "study=s"]
    words += ["strategy=scratch,full_finetune", "hydra.sweeper.fresh_seeds=2"]
    assert cli.main([*words, "--dry-run"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "search scratch none->digits convnet: 0 of 3 trials begun"
    assert said[1] == f"  {RATES}"
    assert "6 trials of 2 searches: 0 over, 6 would run now, drawn one by one" in said
    assert "then the best configuration of each on 2 fresh seeds, in the study s_fresh" in said
    assert not Path("runs").exists()

    assert search(trials=2) == 0
    before = sorted(Path("runs").rglob("*"))
    (best,) = [trial for trial in trials()["scratch"] if trial.value == max(one.value for one in trials()["scratch"])]
    capsys.readouterr()
    assert cli.main([*words, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert f"search scratch none->digits convnet: 2 of 3 trials begun, best score {best.value:.4f}" in said
    assert "6 trials of 2 searches: 2 over, 4 would run now" in said
    assert "1 by finished runs of this study with the same source, target, strategy and backbone" in said
    assert sorted(Path("runs").rglob("*")) == before
    assert states() == {"scratch": ["COMPLETE"] * 2}
    assert cli.main(["status", "s"]) == 0
    assert "search scratch none->digits convnet: 2 of 2 trials begun, best score" in capsys.readouterr().out
