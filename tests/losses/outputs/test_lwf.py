from math import exp, log

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from transferlab.backbones.small import mlp
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.losses.base import Observation, Setting, Step
from transferlab.losses.outputs.lwf import LwF, old_answers
from transferlab.losses.teacher import Teacher
from transferlab.tasks.classification import Classification

TASK = Classification(nn.Linear, "accuracy", None, 0.0, 0.0, "cross_entropy")


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def powered(row, temperature):
    """Equation 3: probabilities to the power of 1 / T, made to sum to 1."""
    plain = [exp(z) / sum(map(exp, row)) for z in row]
    powers = [p ** (1 / temperature) for p in plain]
    return [power / sum(powers) for power in powers]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(2, 6), st.floats(0.5, 8), st.integers(0, 99))
def test_it_is_equation_2_with_probabilities_of_equation_3(samples, classes, temperature, seed):
    present, before = drawn(samples, classes, seed=seed), drawn(samples, classes, seed=seed + 1)
    expected = 0.0
    for now, then in zip(present.tolist(), before.tolist(), strict=True):
        q, p = powered(now, temperature), powered(then, temperature)
        expected -= sum(a * log(b) for a, b in zip(p, q, strict=True)) / samples
    assert old_answers(present, before, temperature).item() == pytest.approx(expected, rel=1e-5)


def test_its_gradient_is_right():
    before = drawn(4, 3, seed=1)
    assert torch.autograd.gradcheck(lambda z: old_answers(z, before, 2.0), drawn(4, 3).requires_grad_())


def test_the_least_is_the_entropy_of_the_answers_before():
    before = drawn(4, 3)
    entropy = torch.distributions.Categorical(logits=before / 2).entropy().mean()
    torch.testing.assert_close(old_answers(before, before, 2.0), entropy)
    assert old_answers(drawn(4, 3, seed=1), before, 2.0) > entropy


@pytest.fixture
def net():
    torch.manual_seed(0)
    return mlp(ArrayInput.of(6), [5]), nn.Linear(5, 3)


def source(net, classes=4):
    import copy

    torch.manual_seed(1)
    return Teacher(copy.deepcopy(net[0]), nn.Linear(5, classes), TASK, 1.0)


def test_the_old_head_goes_on_from_where_it_was_and_trains(net):
    teacher, loss = source(net), LwF(1.0, 2.0)
    loss.prepare(Setting(*net, TASK, {"target": 3}, torch.zeros(2, 6), True, teachers={"source": teacher}))
    x, y = torch.randn(5, 6, generator=torch.Generator().manual_seed(1)), torch.zeros(5)
    features = net[0](x)
    seen = teacher.observe(x, y)
    step = Step(*net, TASK, {"target": Observation(x, y, {}, features, None)}, {"source": seen}, {"source": 1.0})
    value = loss(step)
    torch.testing.assert_close(value, old_answers(seen.outputs, seen.outputs, 2.0))
    value.backward()
    assert all(p.grad is not None for p in loss.parameters()) and len(list(loss.parameters())) == 2
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())


def test_a_head_on_other_features_is_refused(net):
    torch.manual_seed(1)
    other = Teacher(mlp(ArrayInput.of(6), [7]), nn.Linear(7, 4), TASK, 1.0)
    with pytest.raises(InputError, match="takes 7 features, this backbone gives 5"):
        LwF(1.0, 2.0).prepare(Setting(*net, TASK, {"target": 3}, torch.zeros(2, 6), True, teachers={"other": other}))
