from math import log

import pytest
import torch
from adversarial_nets import TASK, close, drawn, features, gradients, net, step
from hypothesis import given, settings
from hypothesis import strategies as st
from views import softmax

from transferlab.errors import InputError
from transferlab.losses.base import Setting
from transferlab.losses.domains.osbp import OSBP, open_set


def built(parts, level=0.5, reversal=0.7, names=("a", "b", "unknown")):
    loss = OSBP(1.0, level, reversal)
    loss.prepare(Setting(*parts, TASK, {"source": 2, "target": 3}, torch.zeros(2, 6), True, names=names))
    return loss


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(1, 4), st.floats(0.05, 0.95), st.integers(0, 99))
def test_it_is_the_binary_cross_entropy_of_the_last_output(count, known, level, seed):
    logits = 3 * drawn(count, known + 1, seed=seed)
    expected = 0.0
    for row in map(softmax, logits.tolist()):
        expected -= (level * log(row[-1]) + (1 - level) * log(sum(row[:-1]))) / count
    assert open_set(logits, level).item() == pytest.approx(expected, rel=1e-9)


def test_it_is_torchs_binary_cross_entropy():
    logits = drawn(5, 4)
    unknown = logits.softmax(1)[:, -1]
    expected = torch.nn.functional.binary_cross_entropy(unknown, torch.full_like(unknown, 0.3))
    torch.testing.assert_close(open_set(logits, 0.3), expected)


def test_its_gradient_is_right_and_finite_where_a_side_is_sure():
    assert torch.autograd.gradcheck(lambda x: open_set(x, 0.5), drawn(4, 3).requires_grad_())
    sure = torch.tensor([[400.0, 0.0], [0.0, 400.0]], requires_grad=True)
    open_set(sure, 0.5).backward()
    assert sure.grad.isfinite().all() and sure.grad.any()


@pytest.mark.parametrize("level", [0.2, 0.5, 0.9])
def test_it_is_least_where_the_unknown_has_the_level(level):
    at = torch.tensor([[log(1 - level), log(level)]]).requires_grad_()
    open_set(at, level).backward()
    assert at.grad.abs().max() < 1e-6
    assert all(open_set(at.detach() + torch.tensor([[0.0, by]]), level) > open_set(at, level) for by in (-0.1, 0.1))


@pytest.mark.parametrize(("n", "m"), [(4, 3), (1, 5), (3, 1)])
def test_the_head_descends_what_the_features_climb(n, m):
    parts = net()
    loss, present = built(parts), step(parts, n, m)
    source, target = features(present)
    plain, value = open_set(parts[1](target), 0.5), loss(present)
    torch.testing.assert_close(value, plain)
    own = list(parts[1].parameters())
    close(gradients(value, own), gradients(plain, own))
    close(gradients(value, [target]), gradients(plain, [target]), factor=-0.7)
    assert not gradients(value, [source])[0].any()


def test_a_step_of_the_backbone_takes_samples_to_either_side_of_the_level():
    parts = net()
    loss = built(parts, reversal=1.0)
    present = step(parts, 8, 32)
    target = features(present)[1]
    (pull,) = gradients(loss(present), [target])
    before, after = (parts[1](one).softmax(1)[:, -1] - 0.5 for one in (target, target.detach() - 0.1 * pull))
    assert (after.sign() == before.sign()).all() and (after.abs() > before.abs()).all()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: OSBP(1.0, 1.0, 1.0), r"strategy.losses.osbp.level=1.0: a probability in \(0, 1\)"),
        (lambda: built(net(), names=("a", "b", "c")), "the target's last class must be 'unknown'"),
        (lambda: built(net(), names=()), "the target's last class must be 'unknown'"),
    ],
)
def test_what_does_not_fit_is_said(make, said):
    with pytest.raises(InputError, match=said):
        make()
