"""Every ready study of sweeps/: all that it compares gets the same budget, and is chosen on held-out labels."""

from collections import Counter
from itertools import product
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from test_configs import ELSEWHERE, GIVEN, STRATEGIES, adapts
from transferlab import results
from transferlab.composing import Composer
from transferlab.expanding import configs, lists
from transferlab.folders import shipped
from transferlab.ledger.plans import hydra_words

SWEEPS = shipped("sweeps")
LONG = ("shootout", "supervised")  # hundreds of jobs
PRESETS = [
    pytest.param(file, id=file.stem, marks=[pytest.mark.slow] if file.stem in LONG else [])
    for file in sorted(SWEEPS.glob("*.yaml"))
]
# What the shoot-out leaves out of what needs no further argument.
NOT_THERE = {
    "milestones": "a form for schedules without a name; as it is shipped it is lp_ft",
    "semantic_alignment": "digits have no names that mean something, and a language model would have to be installed",
}


@pytest.mark.parametrize("file", PRESETS)
def test_every_level_has_as_many_runs_and_every_job_chooses_by_held_out_labels(file: Path, tmp_path: Path) -> None:
    runs, budgets, counted = set(), set(), Counter()
    with Composer(file.stem, str(SWEEPS)) as composer:
        plan = composer.check([f"paths.runs={tmp_path}"], multirun=False)
        listed = lists(plan)
        jobs = configs(composer, hydra_words(plan), product(*listed))
        for words, config in zip(product(*listed), jobs, strict=True):
            assert config.selection._target_ == "transferlab.selection.rules.target_validation"
            assert config.selection.metric == f"val/{config.task.metric}"
            assert config.target.validation > 0
            assert not config.oracle
            assert results.folder(config) not in runs, f"{words} is the run of another job"
            runs.add(results.folder(config))
            budgets.add((config.trainer.max_epochs, config.batch_size))
            counted.update(words)
    assert len(budgets) == 1
    assert len(runs) == plan.jobs > 1
    for values in listed:
        assert {counted[value] for value in values} == {plan.jobs / len(values)}


def test_the_shoot_out_has_every_supervised_strategy_that_needs_no_further_argument() -> None:
    shootout = OmegaConf.load(SWEEPS / "shootout.yaml")
    named = shootout.hydra.sweeper.params.strategy.split(",")
    wanted = {name for name in STRATEGIES if not adapts(name)} - {*GIVEN, *ELSEWHERE, *NOT_THERE}
    assert len(named) == len(wanted)
    assert {*named} == wanted
