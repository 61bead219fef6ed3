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
from transferlab.losses.outputs.kd import KD, distillation
from transferlab.losses.teacher import Teacher
from transferlab.tasks.classification import Classification

TASK = Classification(nn.Linear, "accuracy", None, 0.0, 0.0, "cross_entropy")


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def softened(row, temperature):
    powers = [exp(z / temperature) for z in row]
    return [power / sum(powers) for power in powers]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(2, 6), st.floats(0.5, 8), st.integers(0, 99))
def test_it_is_the_papers_divergence_written_out(samples, classes, temperature, seed):
    student, teacher = drawn(samples, classes, seed=seed), drawn(samples, classes, seed=seed + 1)
    expected = 0.0
    for z, v in zip(student.tolist(), teacher.tolist(), strict=True):
        q, p = softened(z, temperature), softened(v, temperature)
        expected += temperature**2 * sum(b * (log(b) - log(a)) for a, b in zip(q, p, strict=True)) / samples
    assert distillation(student, teacher, temperature).item() == pytest.approx(expected, rel=1e-5, abs=1e-12)


def test_its_gradient_is_right():
    teacher = drawn(4, 3, seed=1)
    assert torch.autograd.gradcheck(lambda z: distillation(z, teacher, 3.0), drawn(4, 3).requires_grad_())


def test_a_student_like_its_teacher_has_nothing_to_learn():
    z = drawn(4, 3).requires_grad_()
    loss = distillation(z, z.detach(), 4.0)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-15) and z.grad.abs().max() < 1e-15


def test_hot_gradients_tend_to_those_of_matched_logits():
    """Section 2.1 of the paper: for large T the gradient is (z - v) / C, of logits with mean 0."""
    z, v = drawn(1, 4).requires_grad_(), drawn(1, 4, seed=1)
    distillation(z, v, 1e4).backward()
    centred = (z - z.mean()) - (v - v.mean())
    torch.testing.assert_close(z.grad, centred.detach() / 4, rtol=0, atol=1e-4)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return mlp(ArrayInput.of(6), [5]), nn.Linear(5, 3)


def teacher(seed, outputs=3, weight=1.0, head=True):
    torch.manual_seed(seed)
    return Teacher(mlp(ArrayInput.of(6), [4]), nn.Linear(4, outputs) if head else None, TASK, weight)


def setting(net, **teachers):
    return Setting(*net, TASK, {"target": 3}, torch.zeros(2, 6), True, teachers=teachers)


def step(net, **teachers):
    x, y = torch.randn(5, 6, generator=torch.Generator().manual_seed(1)), torch.zeros(5)
    features = net[0](x)
    observed = {"target": Observation(x, y, {}, features, net[1](features))}
    taught = {name: one.observe(x, y) for name, one in teachers.items()}
    return Step(*net, TASK, observed, taught, {name: one.weight for name, one in teachers.items()})


def test_several_teachers_are_a_mean_by_their_weights(net):
    first, second = teacher(1, weight=3.0), teacher(2, weight=1.0)
    loss = KD(1.0, 2.0)
    loss.prepare(setting(net, first=first, second=second))
    alone = [loss(step(net, only=one)) for one in (first, second)]
    torch.testing.assert_close(loss(step(net, first=first, second=second)), 0.75 * alone[0] + 0.25 * alone[1])


@pytest.mark.parametrize(
    ("teachers", "said"),
    [
        ({}, "this run starts from none"),
        ({"old": teacher(1, outputs=4)}, "'old' knows 4 classes, the target has 3"),
        ({"old": teacher(1, head=False)}, "came without a classifier"),
        ({"old": teacher(1, outputs=1)}, "logits of two classes or more"),
    ],
)
def test_what_cannot_teach_is_said(teachers, said, net):
    with pytest.raises(InputError, match=said):
        KD(1.0, 2.0).prepare(setting(net, **teachers))


def test_without_temperature_there_are_no_probabilities():
    with pytest.raises(InputError, match="temperature=0"):
        KD(1.0, 0.0)
