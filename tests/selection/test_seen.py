from dataclasses import fields, replace

import pytest
import torch
from passed import drawn as samples

from transferlab.errors import InputError
from transferlab.selection.seen import Labelled, Passed, Seen, check, drawn, exact, finite


def test_target_labels_are_not_among_what_a_rule_sees():
    assert {f.name for f in fields(Seen)} == {"source_train", "source_val", "target"}
    assert Seen.__annotations__["target"] is Passed and {f.name for f in fields(Passed)} == {"features", "logits"}


def test_what_can_be_read_passes():
    seen = samples(classes=2)
    for part in (seen.source_train, seen.source_val, seen.target):
        check("selection=snd", "samples", part)


def test_no_samples_are_an_error_that_names_reader_and_remedy():
    with pytest.raises(InputError, match=r"selection=snd reads target inputs, and there are none: .*selection=last"):
        check("selection=snd", "target inputs", Passed(torch.zeros(0, 2), torch.zeros(0, 3)))


@pytest.mark.parametrize("shape", [(4, 1), (4,), (4, 3, 2)])
def test_outputs_that_are_not_one_class_a_sample_are_refused(shape):
    with pytest.raises(InputError, match="task=classification"):
        check("selection=snd", "target inputs", Passed(torch.zeros(4, 2), torch.zeros(shape)))


@pytest.mark.parametrize("y", [[0, 3], [-1, 0]])
def test_labels_that_the_head_does_not_know_are_refused(y):
    with pytest.raises(InputError, match=f"labels from {min(y)} to {max(y)}, and the head knows the classes 0 to 2"):
        check("selection=iwv", "source samples", Labelled(torch.zeros(2, 2), torch.zeros(2, 3), torch.tensor(y)))


def test_a_draw_is_the_same_every_time_has_each_sample_once_and_keeps_the_order():
    rows = drawn(100, 30)
    assert torch.equal(rows, drawn(100, 30))
    assert len(rows) == 30 and (rows.diff() > 0).all() and rows.min() >= 0 and rows.max() < 100
    assert not torch.equal(rows, torch.arange(30))


@pytest.mark.parametrize("number", [0, 1, 29, 30])
def test_few_samples_are_all_taken(number):
    assert torch.equal(drawn(number, 30), torch.arange(number))


def test_fewer_than_two_samples_are_refused():
    with pytest.raises(InputError, match=r"selection\.score\.samples=1"):
        drawn(5, 1)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_found(value):
    assert finite(torch.ones(2), torch.zeros(2, 2)) and not finite(torch.ones(2), torch.tensor([[0.0, value]]))


def test_half_precision_with_a_gradient_is_read_in_float64():
    tensor = torch.ones(3, dtype=torch.bfloat16, requires_grad=True)
    assert exact(tensor).dtype == torch.float64 and not exact(tensor).requires_grad


def test_what_is_seen_is_not_changed():
    with pytest.raises(AttributeError):
        samples().target.features = torch.zeros(1)
    assert replace(samples()).source_val.y.dtype == torch.int64
