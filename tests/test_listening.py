"""Schedules that listen: what they decide, that it is in force from the epoch's first step, and in the checkpoint."""

import json
from pathlib import Path

import numpy as np
import pytest

from transferlab import cli
from transferlab.errors import InputError
from transferlab.listening import AutoFreeze, PlateauUnfreezing

STAGES = ("stem", "layer1", "layer2", "head")


def depths(schedule, losses):
    """How many stages train in each epoch."""
    found = []
    for epoch, loss in enumerate(losses):
        found.append(len(schedule(STAGES, epoch)))
        schedule.listen(STAGES, {"val/loss": loss}, {})
    return found


def test_a_stage_is_added_after_so_many_epochs_without_a_gain():
    schedule = PlateauUnfreezing("val/loss", 2, 0.0)
    assert depths(schedule, [3, 2, 2.5, 2, 1, 1, 1, 1, 1, 1]) == [1, 1, 1, 1, 2, 2, 2, 3, 3, 4]
    assert schedule(STAGES, 4) == {"layer2", "head"} and schedule(STAGES, 99) == set(STAGES)
    assert schedule.first == {"head": 0, "layer2": 4, "layer1": 7, "stem": 9}


def test_a_gain_must_be_as_large_as_was_asked_for_and_nan_is_none():
    assert depths(PlateauUnfreezing("val/loss", 1, 0.5), [3, 2.8, 2.4, 2.3]) == [1, 1, 2, 2]
    assert depths(PlateauUnfreezing("val/loss", 1, 0.0), [3, float("nan"), 1]) == [1, 1, 2]


def test_of_an_accuracy_more_is_a_gain():
    schedule = PlateauUnfreezing("val/accuracy", 1, 0.0)
    for epoch, (score, expected) in enumerate([(0.5, 1), (0.6, 1), (0.6, 1), (0.7, 2)]):
        assert len(schedule(STAGES, epoch)) == expected
        schedule.listen(STAGES, {"val/accuracy": score}, {})


def settled(before, now, percentile):
    """The gradient norm test, written out: the longest run of stages from the input whose change is below."""
    changes = [abs(a - b) / a for a, b in zip(before, now, strict=True)]
    threshold = np.percentile(changes, percentile)
    frozen = 0
    while frozen < len(changes) and changes[frozen] < threshold:
        frozen += 1
    return frozen


@pytest.mark.parametrize(
    ("before", "now", "frozen"),
    [
        ([1.0, 1.0, 1.0], [1.01, 1.3, 2.0], 1),  # only the first is below the median
        ([1.0, 1.0, 1.0], [2.0, 1.01, 1.3], 0),  # one above holds back those behind it
        ([4.0, 2.0, 1.0], [3.9, 1.9, 0.1], 1),
        ([1.0, 1.0, 1.0], [1.0, 1.0, 1.0], 0),  # nothing is below a threshold that all share
    ],
)
def test_stages_from_the_input_up_are_frozen_once_they_settle(before, now, frozen):
    schedule = AutoFreeze(50.0)
    assert schedule(STAGES, 0) == set(STAGES)
    schedule.listen(STAGES, {}, dict(zip(STAGES, before, strict=False)))
    assert schedule(STAGES, 1) == set(STAGES)
    schedule.listen(STAGES, {}, dict(zip(STAGES, now, strict=False)))
    assert frozen == settled(before, now, 50)
    assert schedule(STAGES, 2) == set(STAGES[frozen:])


def test_what_is_frozen_stays_so_and_the_head_always_trains():
    rng, schedule, before = np.random.default_rng(0), AutoFreeze(100.0), set(STAGES)
    for epoch in range(20):
        now = schedule(STAGES, epoch)
        assert "head" in now and now <= before
        schedule.listen(STAGES, {}, {stage: float(rng.uniform(1, 2)) for stage in now - {"head"}})
        before = now


@pytest.mark.parametrize("schedule", [PlateauUnfreezing("val/loss", 1, 0.0), AutoFreeze(60.0)])
def test_a_schedule_that_is_reloaded_decides_as_before(schedule):
    rng = np.random.default_rng(0)
    hears = [
        ({"val/loss": float(rng.uniform())}, {stage: float(rng.uniform(1, 2)) for stage in STAGES}) for _ in range(8)
    ]
    whole = type(schedule)(*((60.0,) if isinstance(schedule, AutoFreeze) else ("val/loss", 1, 0.0)))
    for epoch, heard in enumerate(hears):
        assert schedule(STAGES, epoch) == whole(STAGES, epoch)
        for one in (schedule, whole):
            one.listen(STAGES, *heard)
        state = json.loads(json.dumps(schedule.state_dict()))
        first = schedule.first
        schedule.load_state_dict(state)
        assert schedule.first is first and first == whole.first


def test_what_is_not_measured_cannot_be_listened_to():
    schedule = PlateauUnfreezing("val/acuracy", 1, 0.0)
    schedule(STAGES, 0)
    with pytest.raises(InputError, match="did you mean 'val/accuracy'"):
        schedule.listen(STAGES, {"val/accuracy": 1.0, "trainable": []}, {})


@pytest.mark.parametrize(
    "build",
    [
        lambda: PlateauUnfreezing("val/loss", 0, 0.0),
        lambda: PlateauUnfreezing("val/loss", 1, -0.1),
        lambda: AutoFreeze(101.0),
    ],
)
def test_numbers_out_of_range_are_refused(build):
    with pytest.raises(InputError, match=r"strategy\.freezing"):
        build()


def test_a_stage_has_its_rate_from_its_first_step_on(tmp_path: Path):
    words = [
        *("source=digits", "target=digits", "target.labels=6", "batch_size=16", "trainer.max_epochs=5"),
        *("backbone.widths=[4,8]", "backbone.input.shape=[1,8,8]", "source.pretrain.max_epochs=1"),
        *("source.pretrain.target.labels=10", "tracker=none", "diagnostics=none", f"paths.runs={tmp_path}"),
        # no epoch gains so much: a stage more each epoch
        *("strategy=plateau_unfreezing", "strategy.freezing.patience=1", "strategy.freezing.min_delta=100"),
    ]
    assert cli.main(["train", *words]) == 0
    (file,) = tmp_path.glob("default/*/run.json")
    rows = json.loads(file.read_text())["history"]
    assert [row["trainable"] for row in rows] == [
        *(["head"], ["head"], ["block2", "head"], ["block1", "block2", "head"], ["block1", "block2", "head"])
    ]
    # each stage's own clock starts at its first step
    assert (rows[2]["lr"]["backbone/block2"], rows[3]["lr"]["backbone/block1"]) == (0.01, 0.01)
    assert rows[1]["lr"]["backbone/block2"] == 0
