from math import exp

import pytest
import torch
from adversarial_nets import CLASSES, FEATURES, close, drawn, features, gradients, net, prepared, step
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from transferlab.errors import InputError
from transferlab.losses.domains.mcd import MCD, discrepancy
from transferlab.tasks.multilabel import MultiLabel


def built(parts, reversal=0.7, **more):
    return prepared(MCD(1.0, reversal), parts, **more)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 99))
def test_it_is_the_mean_distance_of_the_probabilities(count, known, seed):
    first, second = drawn(count, known, seed=seed) * 3, drawn(count, known, seed=seed + 1) * 3
    expected = 0.0
    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        p, q = ([exp(one) / sum(map(exp, row)) for one in row] for row in (a, b))
        expected += sum(abs(x - y) for x, y in zip(p, q, strict=True)) / known / count
    assert discrepancy(first, second).item() == pytest.approx(expected, rel=1e-9, abs=1e-15)
    assert discrepancy(first, second) <= 2 / known + 1e-9


def test_its_gradient_is_right_and_it_is_symmetric():
    first, second = drawn(3, 4).requires_grad_(), drawn(3, 4, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(discrepancy, (first, second))
    assert discrepancy(first, second) == discrepancy(second, first)


def test_heads_that_agree_are_not_apart_and_sure_ones_that_do_not_are_2_by_c_apart():
    logits = 100 * torch.eye(3)
    assert discrepancy(logits, logits) == 0
    assert discrepancy(logits, logits.roll(1, 0)).item() == pytest.approx(2 / 3)


@pytest.mark.parametrize(("n", "m"), [(4, 3), (1, 5), (3, 1)])
def test_heads_climb_the_discrepancy_and_the_backbone_descends_it(n, m):
    parts = net()
    loss, present = built(parts), step(parts, n, m)
    source, target = features(present)
    y = present.observed["source"].y
    solved = F.cross_entropy(loss.head(source), y)
    apart = (parts[1](target).softmax(1) - loss.head(target).softmax(1)).abs().mean()
    value = loss(present)
    torch.testing.assert_close(value, solved - apart)
    first, second = list(parts[1].parameters()), list(loss.head.parameters())
    close(gradients(value, first), gradients(apart, first), factor=-1)  # its source loss is another term
    close(gradients(value, second), gradients(solved - apart, second))
    close(gradients(value, [source]), gradients(solved, [source]))
    close(gradients(value, [target]), gradients(apart, [target]), factor=0.7)
    assert gradients(apart, [target])[0].abs().sum() > 0


def test_a_step_of_the_backbone_brings_heads_together_and_one_of_the_heads_draws_them_apart():
    parts = net()
    loss = built(parts, reversal=1.0)

    def apart():
        target = features(step(parts, 8, 8))[1]
        return discrepancy(parts[1](target), loss.head(target))

    def moved(parameters):
        kept = [p.detach().clone() for p in parameters]
        for p, gradient in zip(parameters, gradients(loss(step(parts, 8, 8)), parameters), strict=True):
            p.data -= 1e-2 * gradient
        found = apart().item()
        for p, value in zip(parameters, kept, strict=True):
            p.data = value
        return found

    before = apart().item()
    assert moved([*parts[1].parameters()]) > before
    target_side = features(present := step(parts, 8, 8))[1]
    (pull,) = gradients(loss(present), [target_side])
    nearer = target_side.detach() - 1e-2 * pull
    assert discrepancy(parts[1](nearer), loss.head(nearer)) < before


def test_the_second_head_is_another_one_and_in_the_state_dict():
    parts = net()
    loss = built(parts)
    assert {key: tuple(value.shape) for key, value in loss.state_dict().items()} == {
        "head.weight": (CLASSES, FEATURES),
        "head.bias": (CLASSES,),
    }
    assert not torch.equal(loss.head.weight, parts[1].weight)
    other = built(parts, seed=4)
    present = step(parts)
    assert other(present) != loss(present)
    other.load_state_dict(loss.state_dict())
    assert torch.equal(other(present), loss(present))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: built(net(), target=3), "loss 'mcd' reads source data"),
        (lambda: built(net(), target=1, source=1), "loss 'mcd' compares classes, and there is one"),
        (
            lambda: built(net(), task=MultiLabel(nn.Linear, "auroc", None)),
            "loss 'mcd' reads a logit for each class: choose task=classification",
        ),
    ],
)
def test_what_does_not_fit_is_said(make, said):
    with pytest.raises(InputError, match=said):
        make()
