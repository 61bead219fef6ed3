from math import log

import pytest
import torch
from both_sides import MANY
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from views import drawn, prepared, small_net, softmax, step

from transferlab.errors import InputError
from transferlab.losses.domains.pseudo_label import PseudoLabel, pseudo_label


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(2, 5), st.floats(0, 1), st.integers(0, 99))
def test_it_is_the_cross_entropy_of_the_largest_class_where_it_is_sure_over_all_samples(count, classes, least, seed):
    logits = 3 * drawn(count, classes, seed=seed)
    expected = 0.0
    for row in map(softmax, logits.tolist()):
        if max(row) >= least:
            expected -= log(max(row)) / count
    assert pseudo_label(logits, least).item() == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_its_gradient_is_right_and_labels_have_none():
    logits = 3 * drawn(5, 3)
    assert torch.autograd.gradcheck(lambda x: pseudo_label(x, 0.5), logits.clone().requires_grad_())
    free = logits.clone().requires_grad_()
    pseudo_label(free, 0.0).backward()
    again = logits.clone().requires_grad_()
    F.cross_entropy(again, logits.argmax(1)).backward()
    torch.testing.assert_close(free.grad, again.grad)


def test_without_a_threshold_it_is_the_lowest_cross_entropy_of_any_labels():
    logits = drawn(4, 3)
    others = torch.cartesian_prod(*[torch.arange(3)] * 4)
    torch.testing.assert_close(
        pseudo_label(logits, 0.0), torch.stack([F.cross_entropy(logits, labels) for labels in others]).min()
    )


def test_where_none_is_sure_it_is_0_and_so_is_its_gradient():
    logits = torch.zeros(4, 3).requires_grad_()
    value = pseudo_label(logits, 0.5)
    value.backward()
    assert value.item() == 0 and torch.equal(logits.grad, torch.zeros(4, 3))


def test_a_probability_at_the_threshold_is_enough():
    assert pseudo_label(torch.zeros(2, 2), 0.5).item() == pytest.approx(log(2))
    assert pseudo_label(torch.zeros(2, 2).bfloat16(), 0.5).dtype == torch.float32


def test_the_loss_reads_the_target_alone():
    net = small_net()
    loss, seen = prepared(PseudoLabel(1.0, 0.4), net), step(net)
    assert loss.reads == {"unlabeled"}
    torch.testing.assert_close(loss(seen), pseudo_label(seen.observed["unlabeled"].outputs, 0.4))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: PseudoLabel(1.0, 1.5), r"strategy.losses.pseudo_label.threshold=1.5: a number in \[0, 1\]"),
        (lambda: prepared(PseudoLabel(1.0, 0.5), small_net(), MANY), "'pseudo_label' .*task=classification"),
    ],
)
def test_what_does_not_fit_is_said(make, said):
    with pytest.raises(InputError, match=said):
        make()
