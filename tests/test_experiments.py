"""Reproductions of adaptation: each composes, and is as many runs as its card says."""

from pathlib import Path

import pytest

from transferlab.composing import Composer

EXPERIMENTS = Path(__file__).parents[1] / "experiments"


@pytest.mark.parametrize(
    ("name", "jobs"),
    [("amazon_dann", 5), ("digits_adaptation", 3 * 5), ("office_caltech10_photos", 6 * 3)],
)
def test_a_reproduction_composes_without_labels_of_the_target(name: str, jobs: int, tmp_path: Path) -> None:
    with Composer(name, str(EXPERIMENTS / name)) as composer:
        plan = composer.check([f"paths.runs={tmp_path}"], multirun=False)
        config = composer.config([])
    assert (plan.jobs, plan.study) == (jobs, tmp_path / name)
    assert config.target.labels == "none"
    assert config.selection._target_ != "transferlab.selection.rules.oracle"
