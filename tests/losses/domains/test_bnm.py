from math import sqrt

import numpy as np
import pytest
import torch
from both_sides import MANY, assert_the_net_learns, drawn, prepared, setting, small_net, step
from hypothesis import given, settings
from hypothesis import strategies as st

from transferlab.errors import InputError
from transferlab.losses.domains.bnm import BNM, bnm


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 8), st.integers(2, 6), st.integers(0, 99))
def test_it_is_minus_the_sum_of_singular_values_by_the_batch(count, classes, seed):
    logits = 3 * drawn(count, classes, seed=seed)
    shares = np.exp(logits.numpy())
    shares /= shares.sum(1, keepdims=True)
    expected = 0.0
    for value in np.linalg.eigvalsh(shares @ shares.T if count < classes else shares.T @ shares):
        expected -= sqrt(max(value, 0)) / count
    assert bnm(logits).item() == pytest.approx(expected, rel=1e-6)


def test_its_gradient_is_right_and_finite_where_singular_values_are_0():
    assert torch.autograd.gradcheck(bnm, drawn(4, 3).requires_grad_())
    alike = torch.tensor([[2.0, 1.0, 0.0]] * 5, requires_grad=True)
    bnm(alike).backward()
    assert alike.grad.isfinite().all()


def test_it_is_least_where_predictions_are_sure_and_of_all_classes_alike():
    """Of B sure samples, B / C in each class, the nuclear norm is C sqrt(B / C)."""
    sure = torch.eye(3).repeat(4, 1) * 1e3
    assert bnm(sure).item() == pytest.approx(-sqrt(12 * 3) / 12)
    one_class = torch.eye(3)[[0] * 12] * 1e3
    assert bnm(one_class).item() == pytest.approx(-sqrt(12) / 12)
    unsure = torch.zeros(12, 3)
    assert bnm(sure) < bnm(one_class) < bnm(unsure)


def test_precision_and_what_diverged():
    logits = drawn(6, 4).float()
    with torch.autocast("cpu", torch.bfloat16):
        assert bnm(logits).item() == pytest.approx(bnm(logits.double()).item(), rel=1e-5)
    assert bnm(logits.half()).dtype == torch.float32
    assert bnm(torch.full((3, 2), torch.nan)).isnan()


def test_the_loss_reads_the_target_alone():
    net = small_net()
    loss = prepared(BNM(1.0), net)
    seen = step(net, loss)
    assert set(seen.observed) == {"unlabeled"}
    torch.testing.assert_close(loss(seen), bnm(seen.observed["unlabeled"].outputs))
    assert_the_net_learns(net, loss(seen))
    with pytest.raises(InputError, match=r"'bnm' .*task=classification"):
        BNM(1.0).prepare(setting(net, MANY))
