from math import exp, log

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from transferlab.errors import InputError
from transferlab.tasks.binary import Binary
from transferlab.tasks.classification import Classification
from transferlab.tasks.focal import binary_focal, focal


def drawn(*shape, seed=0):
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def shares(samples, classes, seed=0):
    return drawn(samples, classes, seed=seed).softmax(1)


def equation_5(p, alpha, gamma):
    """Of Lin et al. 2017."""
    return -alpha * (1 - p) ** gamma * log(p)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(2, 6), st.floats(0, 5), st.booleans(), st.integers(0, 99))
def test_it_is_the_papers_equation_5_of_the_labels_probability(samples, classes, gamma, weighed, seed):
    z = drawn(samples, classes, seed=seed)
    y = torch.randint(classes, (samples,), generator=torch.Generator().manual_seed(seed))
    alpha = [0.5 + number for number in range(classes)] if weighed else [1.0] * classes
    expected = []
    for row, label in zip(z.tolist(), y.tolist(), strict=True):
        p = exp(row[label]) / sum(exp(value) for value in row)
        expected.append(equation_5(p, alpha[label], gamma))
    found = focal(z, F.one_hot(y, classes).double(), torch.tensor(alpha) if weighed else None, gamma)
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.floats(0, 5), st.sampled_from([None, 0.1, 1 / 3, 4.0]), st.integers(0, 99))
def test_of_two_classes_it_is_equation_5_but_for_a_factor_on_all(samples, gamma, weight, seed):
    z = drawn(samples, seed=seed)
    y = torch.randint(2, (samples,), generator=torch.Generator().manual_seed(seed))
    alpha = 1 / 2 if weight is None else weight / (1 + weight)
    expected = []
    for logit, label in zip(z.tolist(), y.tolist(), strict=True):
        p = 1 / (1 + exp(-logit if label else logit))
        expected.append(equation_5(p, alpha if label else 1 - alpha, gamma) / (1 - alpha))
    found = binary_focal(z, y.double(), None if weight is None else torch.tensor(weight), gamma)
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_gradients_are_right(gamma):
    weights, q = torch.tensor([1.0, 2.0, 0.5]).double(), shares(4, 3, seed=1)
    assert torch.autograd.gradcheck(lambda z: focal(z, q, weights, gamma), drawn(4, 3).requires_grad_())
    assert torch.autograd.gradcheck(lambda z: binary_focal(z, q[:, 0], weights[1], gamma), drawn(4).requires_grad_())


def test_without_gamma_it_is_torchs_cross_entropy():
    z, q, weights = drawn(5, 3), shares(5, 3, seed=1), torch.tensor([1.0, 2.0, 0.5]).double()
    torch.testing.assert_close(focal(z, q, weights, 0.0), F.cross_entropy(z, q, weights, reduction="none"))
    expected = F.binary_cross_entropy_with_logits(z[:, 0], q[:, 0], reduction="none", pos_weight=weights[1])
    torch.testing.assert_close(binary_focal(z[:, 0], q[:, 0], weights[1], 0.0), expected)


@pytest.mark.parametrize("gamma", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("logit", [1e4, 200.0, 20.0, -200.0, -1e4])
def test_certain_answers_right_or_wrong_have_finite_losses_and_gradients_in_float32(gamma, logit):
    z = torch.tensor([[logit, 0.0, 0.0]], requires_grad=True)
    loss = focal(z, torch.tensor([[1.0, 0.0, 0.0]]), None, gamma) + binary_focal(z[:, 0], torch.ones(1), None, gamma)
    loss.sum().backward()
    assert loss.isfinite().all() and z.grad.isfinite().all()
    # a right answer costs next to nothing, a wrong one the cross-entropy of both
    assert loss.item() == pytest.approx(0 if logit > 0 else -2 * logit, abs=1e-8, rel=2e-2)


def test_the_task_takes_a_samples_loss_from_it_with_its_weights_and_smoothing():
    z, y = drawn(6, 3), torch.tensor([0, 0, 0, 1, 1, 2])
    task = Classification(nn.Linear, "accuracy", "balanced", 0.1, 2.0, "cross_entropy")
    task.fit(y, 3)
    smoothed = 0.9 * F.one_hot(y, 3).double() + 0.1 / 3
    weights = torch.tensor([6 / 3, 6 / 2, 6 / 1]).double() / 3
    torch.testing.assert_close(task.loss(z, y), focal(z, smoothed, weights, 2.0).mean())
    # MixUp's labels are shares already
    other = 0.3 * F.one_hot(y, 3).double() + 0.7 * F.one_hot(y.flip(0), 3).double()
    torch.testing.assert_close(task.loss(z, other), 0.3 * task.loss(z, y) + 0.7 * task.loss(z, y.flip(0)))


def test_the_binary_task_takes_it_too():
    z, y = drawn(6, 1), torch.tensor([0, 0, 0, 0, 1, 1])
    task = Binary(nn.Linear, "accuracy", "balanced", 2.0)
    task.fit(y, 2)
    expected = binary_focal(z[:, 0], y.double(), torch.tensor(2.0), 2.0).mean()
    torch.testing.assert_close(task.loss(z, y), expected)


def test_a_gamma_below_0_is_refused():
    with pytest.raises(InputError, match=r"task\.focal=-1: .*0 or more"):
        Classification(nn.Linear, "accuracy", None, 0.0, -1, "cross_entropy")
    with pytest.raises(InputError, match=r"task\.focal=-1"):
        Binary(nn.Linear, "accuracy", None, -1)
