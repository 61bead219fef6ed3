import copy
from math import exp, log

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from sklearn.linear_model import LogisticRegression
from torch import nn

from transferlab.backbones.small import mlp
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.losses.base import Observation, Setting, Step, Study
from transferlab.losses.outputs.co_tuning import (
    CoTuning,
    calibrated,
    co_tuning,
    direct,
    logistic,
    reverse,
    turned,
)
from transferlab.losses.teacher import Teacher
from transferlab.tasks.classification import Classification
from transferlab.tasks.multilabel import MultiLabel

TASK = Classification(nn.Linear, "accuracy", None, 0.0, 0.0, "cross_entropy")
SIZES = st.integers(1, 5), st.integers(2, 4), st.integers(2, 5), st.integers(0, 99)


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def labels(count, classes, seed=0):
    """Classes, each of them there if there are as many samples."""
    generator = torch.Generator().manual_seed(seed)
    return torch.arange(count)[torch.randperm(count, generator=generator)] % classes


def sums_to_1(rows):
    torch.testing.assert_close(rows.sum(1), torch.ones(len(rows), dtype=rows.dtype))
    return bool((rows >= 0).all())


@settings(max_examples=25, deadline=None)
@given(*SIZES)
def test_it_is_the_cross_entropy_to_the_source_classes_of_the_target_class(samples, target, source, seed):
    outputs, relationship = drawn(samples, source, seed=seed), drawn(target, source, seed=seed + 1).softmax(1)
    y, expected = labels(samples, target, seed), 0.0
    for row, label in zip(outputs.tolist(), y.tolist(), strict=True):
        whole = sum(map(exp, row))
        expected -= sum(p * log(exp(z) / whole) for p, z in zip(relationship[label].tolist(), row, strict=True))
    assert co_tuning(outputs, y, relationship).item() == pytest.approx(expected / samples, rel=1e-5)


def test_its_gradient_is_right():
    relationship, y = drawn(2, 3, seed=1).softmax(1), torch.tensor([0, 1, 1])
    assert torch.autograd.gradcheck(lambda z: co_tuning(z, y, relationship), drawn(3, 3).requires_grad_())


def test_of_a_mixed_sample_it_is_the_mixture():
    outputs, relationship = drawn(1, 3).expand(3, 3), drawn(2, 3, seed=1).softmax(1)
    alone = [co_tuning(outputs[:1], torch.tensor([c]), relationship) for c in (0, 1)]
    mixed = co_tuning(outputs[:1], torch.tensor([[0.3, 0.7]], dtype=torch.float64), relationship)
    torch.testing.assert_close(mixed, 0.3 * alone[0] + 0.7 * alone[1])


def test_the_least_is_the_entropy_of_the_row():
    relationship, y = drawn(2, 3, seed=1).softmax(1), torch.tensor([0, 1])
    entropy = torch.distributions.Categorical(relationship).entropy().mean()
    torch.testing.assert_close(co_tuning(relationship.log(), y, relationship), entropy)
    assert co_tuning(drawn(2, 3), y, relationship) > entropy


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 6), st.integers(1, 4), st.integers(2, 5), st.integers(0, 99))
def test_the_direct_way_is_the_mean_prediction_of_each_class(more, target, source, seed):
    p, y = drawn(target + more, source, seed=seed).softmax(1), labels(target + more, target, seed)
    found = direct(p, y, target)
    assert found.shape == (target, source) and sums_to_1(found)
    for c in range(target):
        members = [row for row, label in zip(p.tolist(), y.tolist(), strict=True) if label == c]
        for s in range(source):
            assert found[c, s].item() == pytest.approx(sum(row[s] for row in members) / len(members), rel=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 4), st.integers(2, 5), st.integers(0, 99))
def test_turning_around_is_bayes_rule(target, source, seed):
    """Of any joint distribution, p(s | t) p(t) = p(t | s) p(s)."""
    joint = drawn(source * target, seed=seed).softmax(0).reshape(source, target)
    found = turned(joint / joint.sum(1, keepdim=True), joint.sum(1))
    assert sums_to_1(found)
    for s in range(source):
        for t in range(target):
            assert found[t, s].item() == pytest.approx(joint[s, t].item() / joint[:, t].sum().item(), rel=1e-5)


@pytest.mark.parametrize("strength", [1e-2, 1.0, 1e3])
def test_the_regression_is_scikit_learns(strength):
    x, y = drawn(40, 4).softmax(1), labels(40, 3)
    found = logistic(x, y, torch.zeros(3, 4, dtype=torch.float64), strength)
    peer = LogisticRegression(C=strength, fit_intercept=False, tol=1e-10, max_iter=10_000).fit(x.numpy(), y.numpy())
    np.testing.assert_allclose(found, peer.coef_, rtol=1e-3, atol=1e-4 * abs(peer.coef_).max())


def test_the_calibration_is_scipys_minimum():
    y = labels(30, 3)
    logits = 5 * (drawn(30, 3) + nn.functional.one_hot(y))

    def loss(exponent):
        return nn.functional.cross_entropy(exp(exponent) * logits, y).item()

    peer = minimize_scalar(loss, bounds=(-4, 4), method="bounded", options={"xatol": 1e-10})
    factor, least = calibrated(logits, y)
    assert factor == pytest.approx(exp(peer.x), rel=1e-4) and least == pytest.approx(peer.fun, rel=1e-8)


def test_the_reverse_way_finds_which_source_classes_a_target_class_is_made_of():
    """Source classes 0 and 1 are target class 0, 2 and 3 are 1, in unlike shares; the source is sure of itself."""
    counts = [10, 30, 25, 15]
    source = torch.cat([torch.full((count,), s) for s, count in enumerate(counts)])
    source = source[torch.randperm(80, generator=torch.Generator().manual_seed(0))]
    probabilities = nn.functional.one_hot(source, 4).double() * 0.98 + 0.005
    found = reverse(probabilities, source // 2, 2)
    assert found.dtype == torch.float64 and sums_to_1(found)
    expected = torch.tensor([[0.25, 0.75, 0, 0], [0, 0, 0.625, 0.375]], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.03)


def test_the_reverse_way_of_predictions_that_say_nothing_is_their_mean():
    y = torch.arange(20) % 2
    found = reverse(torch.full((20, 3), 1 / 3), y, 2)
    torch.testing.assert_close(found, torch.full((2, 3), 1 / 3), rtol=0, atol=1e-6)


def test_the_reverse_way_needs_two_samples_of_some_class():
    with pytest.raises(InputError, match=r"approach=reverse holds out samples.*choose direct"):
        reverse(drawn(3, 2).softmax(1), torch.arange(3), 3)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return mlp(ArrayInput.of(6), [5]), nn.Linear(5, 2)


def source(net, seed=1, classes=4, weight=1.0):
    torch.manual_seed(seed)
    return Teacher(copy.deepcopy(net[0]), nn.Linear(5, classes), TASK, weight)


X, Y = torch.randn(11, 6, generator=torch.Generator().manual_seed(2)), torch.arange(11) % 2


def prepared(net, approach="direct", temperature=1.0, task=TASK, **teachers):
    loss = CoTuning(1.0, approach, temperature)
    loss.prepare(Setting(*net, task, {"target": 2}, torch.zeros(2, 6), True, teachers=teachers))
    return loss


def study(net, y=Y, **teachers):
    def batches(domain, size):
        assert domain == "target"
        return zip(X.split(min(size, 4)), y.split(min(size, 4)), strict=True)

    return Study(*net, TASK, teachers, batches)


def step(net, y=Y, **teachers):
    features = net[0](X)
    taught = {name: one.observe(X, y) for name, one in teachers.items()}
    weights = {name: one.weight for name, one in teachers.items()}
    return Step(*net, TASK, {"target": Observation(X, y, {}, features, None)}, taught, weights)


@pytest.mark.parametrize(("approach", "learned"), [("direct", direct), ("reverse", reverse)])
def test_the_relationship_is_learned_from_the_sources_calibrated_answers_to_the_whole_split(net, approach, learned):
    teacher = source(net)
    loss = prepared(net, approach, 3.0, source=teacher)
    loss.study(study(net, source=teacher))
    expected = learned((teacher.head(teacher.backbone(X)) / 3).softmax(1), Y, 2)
    found = loss.translations["source"].relationship
    assert sums_to_1(found)
    torch.testing.assert_close(found, expected)
    outputs = teacher.head(net[0](X))  # the head begins as the source's own
    torch.testing.assert_close(loss(step(net, source=teacher)), co_tuning(outputs, Y, expected))
    saved = copy.deepcopy(loss.state_dict())
    resumed = prepared(net, approach, 3.0, source=teacher)
    resumed.load_state_dict(saved)
    assert torch.equal(resumed(step(net, source=teacher)), loss(step(net, source=teacher)))


def test_before_the_study_every_source_class_is_as_likely(net):
    teacher = source(net)
    loss = prepared(net, source=teacher)
    assert torch.equal(loss.translations["source"].relationship, torch.full((2, 4), 0.25))
    assert loss(step(net, source=teacher)).isfinite()


def test_net_and_the_copied_head_learn_and_the_teacher_does_not(net):
    teacher = source(net)
    loss = prepared(net, source=teacher)
    loss.study(study(net, source=teacher))
    loss(step(net, source=teacher)).backward()
    assert len(list(loss.parameters())) == 2 and all(p.grad.abs().sum() > 0 for p in loss.parameters())
    assert net[0].net.layer1[0].weight.grad.abs().sum() > 0
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())


def test_several_sources_are_a_mean_by_their_weights(net):
    first, second = source(net, 1, 4, weight=3.0), source(net, 2, 3)
    both = prepared(net, first=first, second=second)
    both.study(study(net, first=first, second=second))
    alone = []
    for teacher in (first, second):
        loss = prepared(net, only=teacher)
        loss.study(study(net, only=teacher))
        alone.append(loss(step(net, only=teacher)))
    found = both(step(net, first=first, second=second))
    torch.testing.assert_close(found, 0.75 * alone[0] + 0.25 * alone[1])


def test_a_class_without_samples_is_said(net):
    teacher = source(net)
    with pytest.raises(InputError, match=r"what target class 1 is among the source's.*raise target.labels"):
        prepared(net, source=teacher).study(study(net, torch.zeros_like(Y), source=teacher))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda net: prepared(net), "this run starts from none"),
        (lambda net: prepared(net, source=Teacher(net[0], None, None, 1.0)), "came without a classifier"),
        (lambda net: prepared(net, source=source(net, classes=1)), "logits of two classes or more"),
        (
            lambda net: prepared(net, source=Teacher(mlp(ArrayInput.of(6), [7]), nn.Linear(7, 4), TASK, 1.0)),
            "loss 'co_tuning': the head of the teacher 'source' takes 7 features, this backbone gives 5",
        ),
        (
            lambda net: prepared(net, task=MultiLabel(nn.Linear, "auroc", None), source=source(net)),
            "choose task=classification",
        ),
        (lambda net: CoTuning(1.0, "both", 1.0), "direct"),
        (lambda net: CoTuning(1.0, "direct", 0.0), "temperature=0.0: a number above 0"),
    ],
)
def test_what_does_not_fit_is_said(make, said, net):
    with pytest.raises(InputError, match=said):
        make(net)
