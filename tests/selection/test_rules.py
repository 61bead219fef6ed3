from functools import partial

import pytest

from transferlab.errors import InputError
from transferlab.selection.rules import COLLAPSED, Unseen, last, name, target_validation

ROWS = [
    {"epoch": 0, "val/accuracy": 0.5, "val/loss": 1.2, "train/task_loss": 1.0},
    {"epoch": 1, "val/accuracy": 0.8, "val/loss": 0.7, "train/task_loss": 0.5},
    {"epoch": 2, "val/accuracy": 0.7, "val/loss": 0.6, "train/task_loss": 0.1},
]


def chosen(rule):
    return max(ROWS, key=rule)["epoch"]


def test_target_validation_prefers_the_highest_accuracy():
    assert chosen(partial(target_validation, metric="val/accuracy")) == 1
    assert target_validation(ROWS[1], metric="val/accuracy") == 0.8


def test_target_validation_prefers_the_lowest_loss():
    assert chosen(partial(target_validation, metric="val/loss")) == 2


def test_target_validation_prefers_the_lowest_error():
    rows = [{"epoch": epoch, "val/mean_squared_error": error} for epoch, error in enumerate((0.5, 0.2, 0.4))]
    assert max(rows, key=partial(target_validation, metric="val/mean_squared_error"))["epoch"] == 1


def test_last_prefers_the_last_epoch():
    assert chosen(last) == 2


def test_last_needs_no_validation():
    assert last({"epoch": 4}) == 4.0


def test_an_unmeasured_metric_raises_and_lists_those_of_validation():
    with pytest.raises(InputError, match=r"selection\.metric=val/f1 .*there are: val/accuracy, val/loss\)"):
        target_validation(ROWS[0], metric="val/f1")


def test_without_held_out_labels_the_remedy_is_named():
    with pytest.raises(InputError, match=r"no labels are held out: set target\.validation, or selection=last"):
        target_validation({"epoch": 0, "train/task_loss": 1.0}, metric="val/accuracy")


@pytest.mark.parametrize(
    ("rule", "expected"),
    [(last, "last"), (partial(last), "last"), (partial(target_validation, metric="val/loss"), "target_validation")],
)
def test_a_rule_has_its_functions_name(rule, expected):
    assert name(rule) == expected


def test_an_epoch_that_has_collapsed_loses_against_every_sound_one():
    rule = Unseen(named_score)
    rows = [{"rules/named_score": score, COLLAPSED: flag} for score, flag in ((-50.0, 0.0), (9.0, 1.0), (-60.0, 0.0))]
    assert max(rows, key=rule) is rows[0]
    assert max(rows[1:2], key=rule) is rows[1]  # alone it is still there to be selected, and flagged


def named_score(_seen):
    """A rule's function, which is not asked."""
    raise AssertionError
