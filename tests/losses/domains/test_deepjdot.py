import importlib
import sys
from math import exp, log

import numpy as np
import pytest
import torch
from both_sides import MANY, assert_the_net_learns, drawn, features, prepared, setting, small_net, step
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment, linprog

from transferlab.errors import InputError
from transferlab.losses.domains.deepjdot import DeepJDOT, deepjdot, joint_costs, transport

needs_pot = pytest.mark.skipif(importlib.util.find_spec("ot") is None, reason="POT is of the extra 'adaptation'")


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 5), st.integers(2, 4), st.integers(0, 99))
def test_costs_are_those_of_the_paper_written_out(n, m, size, classes, seed):
    s, t, logits = drawn(n, size, seed=seed), drawn(m, size, seed=seed + 1), drawn(m, classes, seed=seed + 2)
    y = torch.arange(n) % classes
    found = joint_costs(s, y, t, logits, 0.7, 1.3)
    for i in range(n):
        for j in range(m):
            apart = sum((a - b) ** 2 for a, b in zip(s[i].tolist(), t[j].tolist(), strict=True))
            powers = [exp(v) for v in logits[j].tolist()]
            expected = 0.7 * apart - 1.3 * log(powers[i % classes] / sum(powers))
            assert found[i, j].item() == pytest.approx(expected, rel=1e-6)


def test_costs_keep_their_digits_far_from_the_origin():
    s, t, logits, y = drawn(5, 40), drawn(4, 40, seed=1), drawn(4, 3, seed=2), torch.arange(5) % 3
    far = joint_costs((s + 1e3).float(), y, (t + 1e3).float(), logits.float(), 1.0, 1.0)
    exact = joint_costs((s + 1e3).float().double(), y, (t + 1e3).float().double(), logits.float().double(), 1.0, 1.0)
    torch.testing.assert_close(far.double(), exact, rtol=1e-5, atol=0)


def least(costs):
    """The linear programme over all plans."""
    n, m = costs.shape
    sums = np.vstack([np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))])
    return linprog(costs.ravel(), A_eq=sums, b_eq=[1 / n] * n + [1 / m] * m).fun


@needs_pot
@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 99))
def test_the_plan_is_the_one_of_least_cost_also_of_unequal_batches(n, m, seed):
    costs = drawn(n, m, seed=seed).square()
    plan = transport(costs)
    torch.testing.assert_close(plan.sum(1), torch.full((n,), 1 / n, dtype=torch.float64))
    torch.testing.assert_close(plan.sum(0), torch.full((m,), 1 / m, dtype=torch.float64))
    assert (plan >= 0).all()
    assert deepjdot(costs).item() == pytest.approx(least(costs.numpy()), rel=1e-6)


@needs_pot
def test_of_equal_batches_it_is_the_best_assignment():
    costs = drawn(7, 7).square()
    rows, columns = linear_sum_assignment(costs.numpy())
    assert deepjdot(costs).item() == pytest.approx(costs[rows, columns].mean().item())


@needs_pot
def test_its_gradient_is_right_and_none_flows_through_the_plan():
    y = torch.arange(3)
    given = [side.requires_grad_() for side in (drawn(3, 2), drawn(4, 2, seed=1), drawn(4, 3, seed=2))]
    assert torch.autograd.gradcheck(lambda s, t, logits: deepjdot(joint_costs(s, y, t, logits, 1.0, 1.0)), given)
    costs = drawn(3, 4).square().requires_grad_()
    deepjdot(costs).backward()
    torch.testing.assert_close(costs.grad, transport(costs))


@needs_pot
def test_samples_beside_themselves_cost_nothing_in_any_order():
    s, order = drawn(5, 3), torch.tensor([3, 0, 4, 1, 2])
    costs = joint_costs(s, torch.zeros(5, dtype=torch.long), s[order], torch.zeros(5, 2).double(), 1.0, 0.0)
    assert deepjdot(costs).item() == pytest.approx(0, abs=1e-12)
    assert transport(costs).argmax(0).tolist() == order.tolist()


def test_what_diverged_is_nan():
    assert deepjdot(torch.full((2, 3), torch.nan)).isnan()


@needs_pot
def test_the_loss_compares_features_with_predictions():
    net = small_net()
    loss = prepared(DeepJDOT(1.0, None, 0.5, 0.2), net)
    seen = step(net, loss)
    source, target = (seen.observed[name] for name in ("source", "unlabeled"))
    one, other = features(seen)
    expected = deepjdot(joint_costs(one, source.y, other, target.outputs, 0.5, 0.2))
    torch.testing.assert_close(loss(seen), expected)
    loss = prepared(DeepJDOT(1.0, ["block1", "pool"], 0.5, 0.2), net)
    seen = step(net, loss)
    source, target = (seen.observed[name] for name in ("source", "unlabeled"))
    maps = [side.activations["block1"].mean((2, 3)) for side in (source, target)]
    costs = joint_costs(maps[0], source.y, maps[1], target.outputs, 0.5, 0.2)
    torch.testing.assert_close(loss(seen), expected + deepjdot(costs))
    assert_the_net_learns(net, loss(seen))


def test_what_does_not_fit_is_said(monkeypatch):
    net = small_net()
    for alpha, label_weight in ((-1.0, 1.0), (0.0, 0.0)):
        with pytest.raises(InputError, match=f"alpha={alpha} label_weight={label_weight}: 0 or more"):
            DeepJDOT(1.0, None, alpha, label_weight)
    with pytest.raises(InputError, match="task=classification"):
        DeepJDOT(1.0, None, 1.0, 1.0).prepare(setting(net, MANY))
    monkeypatch.setitem(sys.modules, "ot", None)  # as if it were not installed
    with pytest.raises(InputError, match=r"pip install 'transferlab\[adaptation\]'"):
        DeepJDOT(1.0, None, 1.0, 1.0).prepare(setting(net))
