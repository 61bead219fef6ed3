from math import exp, log

import pytest
import torch
from adversarial_nets import CLASSES, FEATURES, close, drawn, features, gradients, net, prepared, step
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from transferlab.errors import InputError
from transferlab.losses.domains.mdd import MDD, mdd
from transferlab.tasks.multilabel import MultiLabel


def built(parts, margin=4.0, reversal=0.7, **more):
    return prepared(MDD(1.0, margin, reversal), parts, **more)


def softmax(row):
    return [exp(one) / sum(map(exp, row)) for one in row]


def by_hand(source, source_head, target, target_head, margin):
    agreed = sum(-log(softmax(z)[h.index(max(h))]) for z, h in zip(source, source_head, strict=True)) / len(source)
    apart = sum(log(1 - softmax(z)[h.index(max(h))]) for z, h in zip(target, target_head, strict=True)) / len(target)
    return margin * agreed - apart


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(2, 5), st.floats(0.5, 8), st.integers(0, 99))
def test_it_is_the_papers_discrepancy_with_its_sign_turned(n, m, known, margin, seed):
    sides = [drawn(size, known, seed=seed + k) * 2 for k, size in enumerate((n, n, m, m))]
    expected = by_hand(*(side.tolist() for side in sides), margin)
    assert mdd(*sides, margin).item() == pytest.approx(expected, rel=1e-9)


def test_its_gradient_is_right_and_finite_where_the_adversary_is_sure():
    s, t = drawn(3, 4).requires_grad_(), drawn(2, 4, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda s, t: mdd(s, drawn(3, 4, seed=2), t, drawn(2, 4, seed=3), 4.0), (s, t))
    sure = torch.tensor([[200.0, 0.0]], requires_grad=True)  # here 1 - sigma is 0 in float32
    value = mdd(sure, sure.detach(), sure, sure.detach(), 4.0)
    value.backward()
    assert value.item() == pytest.approx(200) and sure.grad.tolist() == [[1.0, -1.0]]


@settings(max_examples=25, deadline=None)
@given(st.floats(-1, 3), st.integers(2, 5), st.integers(0, 99))
def test_where_domains_are_alike_the_adversary_is_best_at_the_margin_rho(rho, known, seed):
    others, shift = drawn(4, known, seed=seed), drawn(4, seed=seed + 1)
    h = others.argmax(1, keepdim=True)
    rest = others.scatter(1, h, -torch.inf).logsumexp(1)
    at = others.scatter(1, h, (rest + rho)[:, None]).requires_grad_()
    value = mdd(at, others, at, others, exp(rho))
    value.backward()
    torch.testing.assert_close(at.grad, torch.zeros_like(at), atol=1e-12, rtol=0)
    sigma = at.softmax(1).gather(1, h)
    torch.testing.assert_close(sigma, torch.full_like(sigma, exp(rho) / (1 + exp(rho))))
    elsewhere = at.detach().scatter_add(1, h, shift[:, None])
    assert mdd(elsewhere, others, elsewhere, others, exp(rho)) > value - 1e-12


@pytest.mark.parametrize("margin", [2.0, 4.0])
def test_an_adversary_that_trains_on_domains_that_are_alike_finds_the_margin(margin):
    logits, head = torch.zeros(1, 3, requires_grad=True), torch.tensor([[0.0, 1.0, 0.0]])
    trained = torch.optim.SGD([logits], 0.3)
    for _ in range(200):
        trained.zero_grad()
        mdd(logits, head, logits, head, margin).backward()
        trained.step()
    assert (logits[0, 1] - logits[0, [0, 2]].logsumexp(0)).item() == pytest.approx(log(margin), abs=1e-3)


@pytest.mark.parametrize(("n", "m"), [(4, 3), (1, 5), (3, 1)])
def test_the_adversary_descends_and_the_backbone_climbs_lambda_times(n, m):
    parts = net()
    loss, present = built(parts), step(parts, n, m)
    source, target = features(present)
    heads = [present.observed[domain].outputs for domain in ("source", "unlabeled")]
    plain = mdd(loss.head(source), heads[0], loss.head(target), heads[1], 4.0)
    value = loss(present)
    torch.testing.assert_close(value, plain)
    own = list(loss.parameters())
    close(gradients(value, own), gradients(plain, own))
    close(gradients(value, [source, target]), gradients(plain, [source, target]), factor=-0.7)
    value.backward()
    assert all(p.grad is None for p in parts[1].parameters())  # of the classifier the class alone counts


def test_the_margin_weighs_the_source():
    parts = net()
    present = step(parts)
    by_margin = [built(parts, margin)(present) for margin in (1.0, 2.0, 4.0)]
    torch.testing.assert_close(by_margin[2] - by_margin[1], 2 * (by_margin[1] - by_margin[0]))
    assert by_margin[1] > by_margin[0]


def test_the_adversary_is_another_head_and_in_the_state_dict():
    parts = net()
    loss = built(parts)
    assert {key: tuple(value.shape) for key, value in loss.state_dict().items()} == {
        "head.weight": (CLASSES, FEATURES),
        "head.bias": (CLASSES,),
    }
    other = built(parts, seed=4)
    present = step(parts)
    assert other(present) != loss(present)
    other.load_state_dict(loss.state_dict())
    assert torch.equal(other(present), loss(present))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: MDD(1.0, 0.0, 1.0), "strategy.losses.mdd.margin=0.0: a number above 0"),
        (lambda: built(net(), target=3), "loss 'mdd' reads source data"),
        (lambda: built(net(), target=1, source=1), "loss 'mdd' compares classes, and there is one"),
        (
            lambda: built(net(), task=MultiLabel(nn.Linear, "auroc", None)),
            "loss 'mdd' reads a logit for each class: choose task=classification",
        ),
    ],
)
def test_what_does_not_fit_is_said(make, said):
    with pytest.raises(InputError, match=said):
        make()
