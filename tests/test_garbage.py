"""What a run leaves behind in a process that goes on."""

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning import Trainer

from transferlab import building
from transferlab.cli import main

RUN = ("source=none", "strategy=scratch", "target=digits", "target.labels=6", "backbone.widths=[4]")
RUN += ("trainer.max_epochs=1", "trainer.accelerator=cpu", "tracker=none", "diagnostics=none")


def test_of_a_run_that_is_over_no_trainer_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    alive: list[weakref.ref[Trainer]] = []
    left: list[int] = []
    build = building.trainer

    def noted(*given: Any) -> Trainer:
        left.append(sum(one() is not None for one in alive))
        alive.append(weakref.ref(trainer := build(*given)))
        return trainer

    monkeypatch.setattr(building, "trainer", noted)
    before = gc.get_threshold()
    gc.disable()  # nobody but we look for garbage
    try:
        assert main(["train", "-m", *RUN, "seed=range(4)"]) == 0
    finally:
        gc.enable()
        gc.set_threshold(*before)
    assert left == [0, 0, 0, 0]
