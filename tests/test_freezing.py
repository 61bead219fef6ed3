import random
from functools import partial

import pytest

from transferlab.errors import InputError
from transferlab.freezing import (
    backbone,
    chain_thaw,
    first_epochs,
    full,
    gradual_unfreezing,
    linear_probe,
    matching,
    milestones,
    probe_then_tune,
    surgical,
    top_k,
)

STAGES = ("stem", "layer1", "layer2", "layer3", "head")

# One row an epoch; a letter for each stage that trains: s(tem) 1 2 3 h(ead).
TABLES = {
    "full": (full, ["s123h"] * 4),
    "linear_probe": (linear_probe, ["h"] * 4),
    # Tzeng et al. 2017: the target's encoder, under the source's classifier
    "backbone": (backbone, ["s123"] * 4),
    # Yosinski et al. 2014: the first n layers are copied and kept, the rest trains
    "top_0": (partial(top_k, k=0), ["h"] * 3),
    "top_1": (partial(top_k, k=1), ["3h"] * 3),
    "top_2": (partial(top_k, k=2), ["23h"] * 3),
    "top_all": (partial(top_k, k=4), ["s123h"] * 3),
    # Kumar et al. 2022: linear probing, then fine-tuning of everything
    "lp_ft": (partial(probe_then_tune, probe_epochs=2), ["h", "h", "s123h", "s123h"]),
    "lp_ft without probe": (partial(probe_then_tune, probe_epochs=0), ["s123h"] * 2),
    # Howard & Ruder 2018: the last layer first, then the next lower one joins
    "gradual": (partial(gradual_unfreezing, every=1), ["h", "3h", "23h", "123h", "s123h", "s123h", "s123h"]),
    "gradual by 2": (
        partial(gradual_unfreezing, every=2),
        ["h", "h", "3h", "3h", "23h", "23h", "123h", "123h", "s123h", "s123h", "s123h"],
    ),
    # Felbo et al. 2017: the new layer, each layer alone from the first, then the whole
    "chain_thaw": (partial(chain_thaw, every=1), ["h", "s", "1", "2", "3", "s123h", "s123h"]),
    "chain_thaw by 2": (
        partial(chain_thaw, every=2),
        ["h", "h", "s", "s", "1", "1", "2", "2", "3", "3", "s123h", "s123h"],
    ),
    # Lee et al. 2023: a chosen block and the head
    "surgical first": (partial(surgical, train=[0]), ["sh"] * 3),
    "surgical last": (partial(surgical, train=[-1]), ["3h"] * 3),
    "surgical middle": (partial(surgical, train=["layer1", "layer2"]), ["12h"] * 3),
    "milestones": (
        partial(milestones, at={"0": ["head"], "2": ["layer3", "head"], "3": ["*"]}),
        ["h", "h", "3h", "s123h", "s123h"],
    ),
    "milestones that freeze again": (
        partial(milestones, at={"2": ["layer*"], "0": [0, -1]}),
        ["sh", "sh", "123", "123"],
    ),
}
LETTERS = dict(zip("s123h", STAGES, strict=True))


@pytest.mark.parametrize("name", TABLES)
def test_a_schedule_follows_its_papers_table(name):
    schedule, table = TABLES[name]
    for epoch, row in enumerate(table):
        assert schedule(STAGES, epoch) == {LETTERS[letter] for letter in row}, epoch


@pytest.mark.parametrize("name", TABLES)
def test_a_schedule_gives_the_same_in_any_order_of_calls(name):
    schedule, table = TABLES[name]
    epochs = [*range(len(table))] * 3
    random.Random(0).shuffle(epochs)
    for epoch in epochs:
        assert schedule(STAGES, epoch) == {LETTERS[letter] for letter in table[epoch]}, epoch


@pytest.mark.parametrize("name", TABLES)
def test_changing_what_a_schedule_gave_changes_no_later_answer(name):
    schedule, table = TABLES[name]
    schedule(STAGES, 0).clear()
    assert schedule(STAGES, 0) == {LETTERS[letter] for letter in table[0]}


def test_schedules_take_a_backbone_of_one_stage():
    assert gradual_unfreezing(("body", "head"), 5, every=1) == {"body", "head"}
    assert [chain_thaw(("body", "head"), epoch, every=1) for epoch in range(3)] == [
        {"head"},
        {"body"},
        {"body", "head"},
    ]


@pytest.mark.parametrize("k", [-1, 5, 6])
def test_top_k_refuses_more_stages_than_there_are(k):
    with pytest.raises(InputError, match=rf"k={k}: between 0 and 4"):
        top_k(STAGES, 0, k=k)


@pytest.mark.parametrize("schedule", [gradual_unfreezing, chain_thaw])
@pytest.mark.parametrize("every", [0, -1])
def test_a_phase_of_no_epochs_is_refused(schedule, every):
    with pytest.raises(InputError, match=rf"every={every}.*at least 1"):
        schedule(STAGES, 0, every=every)


def test_milestones_without_epoch_0_are_refused():
    with pytest.raises(InputError, match=r"lists the epochs \[3, 5\].*from 0 on is missing"):
        milestones(STAGES, 4, at={"5": ["head"], "3": ["*"]})


def test_milestones_are_ordered_as_numbers_and_not_as_words():
    at = {"0": ["head"], "9": ["stem"], "10": ["layer1"]}
    assert [milestones(STAGES, epoch, at=at) for epoch in (8, 9, 10, 11)] == [{"head"}, {"stem"}] + [{"layer1"}] * 2


@pytest.mark.parametrize("key", ["first", "-1", "1.5", ""])
def test_a_milestone_that_is_no_epoch_is_refused(key):
    with pytest.raises(InputError, match=rf"'{key}' is no epoch"):
        milestones(STAGES, 0, at={"0": ["head"], key: ["*"]})


@pytest.mark.parametrize(
    ("chosen", "found"),
    [
        ([], set()),
        (["layer2"], {"layer2"}),
        (["layer*"], {"layer1", "layer2", "layer3"}),
        (["layer[12]", "stem"], {"stem", "layer1", "layer2"}),
        (["*"], set(STAGES)),
        ([0, -1], {"stem", "head"}),
        ([2, "layer2"], {"layer2"}),
    ],
)
def test_names_patterns_and_positions_choose_stages(chosen, found):
    assert matching(chosen, STAGES) == found


def test_a_name_that_matches_nothing_raises_with_the_nearest():
    with pytest.raises(InputError, match=r"'layr2'; did you mean 'layer2'\?.*stem, layer1, layer2, layer3, head"):
        matching(["stem", "layr2"], STAGES)


def test_a_pattern_that_matches_nothing_raises_and_lists_what_exists():
    with pytest.raises(InputError, match=r"'block\*'.*stem, layer1"):
        matching(["block*"], STAGES)


@pytest.mark.parametrize("position", [5, -6])
def test_a_position_outside_raises(position):
    with pytest.raises(InputError, match=rf"position {position} \(there are 5"):
        matching([position], STAGES)


@pytest.mark.parametrize("train", [["head"], [4], ["layr2"]])
def test_surgical_chooses_among_the_backbones_stages_alone(train):
    with pytest.raises(InputError):
        surgical(STAGES, 0, train=train)


@pytest.mark.parametrize("name", TABLES)
def test_first_epochs_are_the_first_rows_of_the_table(name):
    schedule, table = TABLES[name]
    expected = {}
    for letter, stage in LETTERS.items():
        rows = [epoch for epoch, row in enumerate(table) if letter in row]
        if rows:
            expected[stage] = rows[0]
    assert first_epochs(schedule, STAGES, len(table)) == expected


def test_a_stage_that_first_trains_after_the_run_has_no_first_epoch():
    assert first_epochs(partial(gradual_unfreezing, every=1), STAGES, 2) == {"head": 0, "layer3": 1}
