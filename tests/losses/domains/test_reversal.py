import pytest
import torch
from adversarial_nets import drawn
from hypothesis import given, settings
from hypothesis import strategies as st

from transferlab.losses.domains.reversal import Reversal, reverse
from transferlab.losses.weight import ramp


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.floats(0, 10), st.integers(0, 99))
def test_the_value_stays_and_the_gradient_turns_round(rows, columns, coefficient, seed):
    x, weights = drawn(rows, columns, seed=seed).requires_grad_(), drawn(rows, columns, seed=seed + 1)
    (plain,) = torch.autograd.grad((x.sin() * weights).sum(), x)
    there = reverse(x, coefficient)
    assert torch.equal(there, x)
    (found,) = torch.autograd.grad((there.sin() * weights).sum(), x)
    torch.testing.assert_close(found, -coefficient * plain)


def test_what_comes_after_it_keeps_its_gradient():
    x, weight = drawn(3, 2).requires_grad_(), drawn(2, seed=1).requires_grad_()
    (reverse(x, 0.5) @ weight).sum().backward()
    torch.testing.assert_close(weight.grad, x.detach().sum(0))


@pytest.mark.parametrize("progress", [0.0, 0.3, 0.9])
def test_the_coefficient_follows_training(progress):
    reversal = Reversal(lambda share: ramp(share, high=2.0, gamma=10.0))
    x = drawn(3).requires_grad_()
    reversal(x, progress).sum().backward()
    torch.testing.assert_close(x.grad, torch.full((3,), -ramp(progress, high=2.0, gamma=10.0), dtype=torch.float64))


def test_a_number_stays_whatever_the_progress():
    assert [Reversal(3).at(progress) for progress in (0.0, 0.5)] == [3.0, 3.0]
