from math import sqrt

import pytest
import torch
from both_sides import assert_the_net_learns, drawn, features, prepared, small_net, step
from hypothesis import given, settings
from hypothesis import strategies as st

from transferlab.errors import InputError
from transferlab.losses.domains.afn import AFN, hard, lengths, stepwise


def norms(rows):
    return [sqrt(sum(v**2 for v in row)) for row in rows]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(1, 5), st.floats(0.1, 30), st.integers(0, 99))
def test_both_forms_are_the_papers_written_out(count, size, number, seed):
    f, before = drawn(count, size, seed=seed), drawn(count, size, seed=seed + 1)
    expected = 0.0
    for length, was in zip(norms(f.tolist()), norms(before.tolist()), strict=True):
        expected += (was + number - length) ** 2 / count
    assert stepwise(f, before, number).item() == pytest.approx(expected, rel=1e-6)
    expected = (sum(norms(f.tolist())) / count - number) ** 2
    assert hard(f, number).item() == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_their_gradients_are_right():
    f, before = drawn(4, 3).requires_grad_(), drawn(4, 3, seed=1)
    assert torch.autograd.gradcheck(lambda f: stepwise(f, before, 1.0), f)
    assert torch.autograd.gradcheck(lambda f: hard(f, 5.0), f)


def test_stepwise_is_the_square_of_the_step_and_makes_every_length_grow_alike():
    f = (5 * drawn(4, 3)).requires_grad_()
    value = stepwise(f, f.detach(), 0.5)
    value.backward()
    assert value.item() == pytest.approx(0.25)
    grown = f.detach() - f.grad  # the gradient of a length is -2 r / B
    torch.testing.assert_close(lengths(grown), lengths(f.detach()) + 2 * 0.5 / 4)


def test_hard_is_0_at_the_radius_and_lets_single_lengths_be():
    f = torch.tensor([[3.0, 4.0], [0.0, 15.0]])
    assert hard(f, 10.0).item() == pytest.approx(0)
    assert hard(f, 12.0).item() == pytest.approx(4)


def test_features_of_0_have_a_finite_gradient():
    f = torch.zeros(2, 3, requires_grad=True)
    (stepwise(f, f.detach(), 1.0) + hard(f, 5.0)).backward()
    assert f.grad.isfinite().all()


@pytest.mark.parametrize("form", ["stepwise", "hard"])
def test_the_loss_is_the_sum_over_both_sides(form):
    net = small_net()
    loss = prepared(AFN(0.05, None, form, 1.0, 25.0), net)
    seen = step(net, loss)
    of = {"stepwise": lambda f: stepwise(f, f.detach(), 1.0), "hard": lambda f: hard(f, 25.0)}[form]
    torch.testing.assert_close(loss(seen), sum(of(f) for f in features(seen)))
    assert_the_net_learns(net, loss(seen), head=False)


def test_a_step_against_the_gradient_lengthens_the_features_of_both_sides():
    net = small_net()
    loss = prepared(AFN(0.05, None, "stepwise", 1.0, 25.0), net)
    seen = step(net, loss)
    before = [lengths(f).mean().item() for f in features(seen)]
    loss(seen).backward()
    with torch.no_grad():
        for p in net[0].parameters():
            p -= 0.01 * p.grad
    after = [lengths(f).mean().item() for f in features(step(net, loss))]
    assert all(one > other for one, other in zip(after, before, strict=True))


def test_what_does_not_fit_is_said():
    with pytest.raises(InputError, match="did you mean 'stepwise'"):
        AFN(0.05, None, "step_wise", 1.0, 25.0)
    with pytest.raises(InputError, match=r"afn\.radius=0.0: a number above 0"):
        AFN(0.05, None, "hard", 1.0, 0.0)
