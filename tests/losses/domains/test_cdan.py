from math import exp, log

import pytest
import torch
from adversarial_nets import CLASSES, FEATURES, close, drawn, features, gradients, net, prepared, step
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from transferlab.errors import InputError
from transferlab.losses.domains.cdan import CDAN, cdan, certainty, multilinear, randomized_multilinear
from transferlab.losses.domains.discriminator import domain_cross_entropy
from transferlab.tasks.regression import Regression

SIZES = st.integers(1, 4), st.integers(1, 5), st.integers(1, 4), st.integers(0, 99)


def built(parts, randomized="auto", entropy=False, detach=True, reversal=0.7, dimension=6, **more):
    return prepared(CDAN(1.0, [4], 0.0, randomized, dimension, entropy, detach, reversal), parts, **more)


def dot(a, b):
    return sum(x * y for x, y in zip(a.tolist(), b.tolist(), strict=True))


@settings(max_examples=25, deadline=None)
@given(*SIZES)
def test_the_map_has_every_feature_times_every_prediction(count, size, known, seed):
    f, g = drawn(count, size, seed=seed), drawn(count, known, seed=seed + 1).softmax(1)
    found = multilinear(f, g)
    expected = [[(g[b, c] * f[b, i]).item() for c in range(known) for i in range(size)] for b in range(count)]
    assert found.tolist() == expected


@settings(max_examples=25, deadline=None)
@given(*SIZES, st.integers(1, 6))
def test_the_randomized_map_is_the_product_of_two_projections(count, size, known, seed, dimension):
    f, g = drawn(count, size, seed=seed), drawn(count, known, seed=seed + 1).softmax(1)
    first, second = drawn(size, dimension, seed=seed + 2), drawn(known, dimension, seed=seed + 3)
    found = randomized_multilinear(f, g, first, second)
    for b in range(count):
        for d in range(dimension):
            expected = dot(f[b], first[:, d]) * dot(g[b], second[:, d]) / dimension**0.5
            assert found[b, d].item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_the_randomized_map_keeps_inner_products_on_average():
    f, g, dimension = drawn(4, 5), drawn(4, 3, seed=1).softmax(1), 200_000
    vectors = randomized_multilinear(f, g, drawn(5, dimension, seed=2), drawn(3, dimension, seed=3))
    whole = multilinear(f, g)
    torch.testing.assert_close(vectors @ vectors.T, whole @ whole.T, atol=0.05, rtol=0.03)


def test_with_one_class_the_map_is_the_features_and_cdan_is_dann():
    f, one = drawn(4, 5), torch.ones(4, 1, dtype=torch.float64)
    assert torch.equal(multilinear(f, one), f)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 99), st.floats(0.1, 20))
def test_sure_samples_weigh_up_to_2(count, known, seed, scale):
    logits = drawn(count, known, seed=seed) * scale
    for found, row in zip(certainty(logits).tolist(), logits.softmax(1).tolist(), strict=True):
        assert found == pytest.approx(1 + exp(sum(p * log(p) for p in row if p > 0)), rel=1e-9)
        assert 1 + 1 / known - 1e-9 <= found <= 2 + 1e-9


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 99))
def test_it_is_the_weighted_cross_entropy_of_each_domain(n, m, seed):
    s, t = drawn(n, seed=seed), drawn(m, seed=seed + 1)
    ws, wt = drawn(n, seed=seed + 2).abs() + 0.1, drawn(m, seed=seed + 3).abs() + 0.1
    expected = 0.0
    for logit, weight in zip(s.tolist(), ws.tolist(), strict=True):
        expected -= weight / sum(ws.tolist()) * log(1 / (1 + exp(-logit))) / 2
    for logit, weight in zip(t.tolist(), wt.tolist(), strict=True):
        expected -= weight / sum(wt.tolist()) * log(1 - 1 / (1 + exp(-logit))) / 2
    assert cdan(s, t, ws, wt).item() == pytest.approx(expected, rel=1e-9)


def test_with_equal_weights_it_is_the_loss_of_dann_and_its_gradient_is_right():
    s, t = drawn(4).requires_grad_(), drawn(3, seed=1).requires_grad_()
    ws, wt = torch.full((4,), 1.7, dtype=torch.float64), torch.full((3,), 1.2, dtype=torch.float64)
    torch.testing.assert_close(cdan(s, t, ws, wt), domain_cross_entropy(s, t))
    assert torch.autograd.gradcheck(lambda s, t: cdan(s, t, ws[:4], drawn(3, seed=5).abs() + 1), (s, t))


def test_the_sum_of_the_weights_has_no_gradient():
    s, t, weights = drawn(4), drawn(3, seed=1), (drawn(4, seed=2).abs() + 0.1).requires_grad_()
    (found,) = torch.autograd.grad(cdan(s, t, weights, torch.ones(3)), weights)
    torch.testing.assert_close(found, torch.log1p(torch.exp(-s)) / weights.detach().sum() / 2)


def test_the_gradient_of_the_weights_and_the_map_is_right():
    assert torch.autograd.gradcheck(certainty, drawn(3, 4).requires_grad_())
    inputs = drawn(3, 5).requires_grad_(), drawn(3, 4, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda f, z: multilinear(f, z.softmax(1)), inputs)


def plain(loss, present, detach):
    """The formula from the discriminator on, nothing reversed."""
    scores, weights = [], []
    for one in (present.observed["source"], present.observed["unlabeled"]):
        outputs = one.outputs.detach() if detach else one.outputs
        predictions = outputs.softmax(1)
        if "first" in dict(loss.named_buffers()):
            mapped = (one.features @ loss.first) * (predictions @ loss.second) / loss.first.shape[1] ** 0.5
        else:
            mapped = (predictions[:, :, None] * one.features[:, None]).flatten(1)
        scores.append(loss.discriminator(mapped))
        entropy = -(predictions * predictions.log()).sum(1)
        weights.append(1 + torch.exp(-entropy) if loss.entropy else torch.ones(len(predictions)))
    return cdan(*scores, *weights)


@pytest.mark.parametrize("entropy", [False, True])
@pytest.mark.parametrize("randomized", [False, True])
@pytest.mark.parametrize("detach", [False, True])
def test_the_discriminator_descends_and_what_it_sees_climbs_lambda_times(entropy, randomized, detach):
    parts = net()
    loss, present = built(parts, randomized, entropy, detach), step(parts, 5, 3)
    value, straight = loss(present), plain(loss, present, detach)
    torch.testing.assert_close(value, straight)
    own = list(loss.parameters())
    close(gradients(value, own), gradients(straight, own))
    before = [*features(present), *parts[1].parameters()]
    close(gradients(value, before), gradients(straight, before), factor=-0.7)
    head = gradients(value, list(parts[1].parameters()))
    assert all((gradient.abs().sum() == 0) == detach for gradient in head)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (4, 1), (1, 3)])
def test_batches_may_be_of_any_size(n, m):
    parts = net()
    value = built(parts, entropy=True)(step(parts, n, m))
    assert value.isfinite() and value > 0


@pytest.mark.parametrize(("known", "large"), [(4, False), (5, True)])
def test_by_itself_it_is_randomized_above_4096_numbers(known, large):
    parts = net(features=1024, classes=known)
    loss = built(parts, source=known, target=known)
    assert {"first", "second"} <= loss.state_dict().keys() if large else "first" not in loss.state_dict()
    assert loss.discriminator.net[0].in_features == (6 if large else 4096)


def test_the_random_matrices_are_saved_and_do_not_train():
    parts = net()
    loss, other = built(parts, True), built(parts, True, seed=4)
    assert loss.first.shape == (FEATURES, 6) and loss.second.shape == (CLASSES, 6)
    assert not any(p is loss.first or p is loss.second for p in loss.parameters())
    present = step(parts)
    assert loss(present) != other(present)
    other.load_state_dict(loss.state_dict())
    assert torch.equal(loss(present), other(present))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: CDAN(1.0, [-1], 0.0, "auto", 6, False, True, 1.0), "strategy.losses.cdan.hidden"),
        (lambda: CDAN(1.0, [4], 0.0, "maybe", 6, False, True, 1.0), "randomized=maybe: auto, true or false"),
        (lambda: CDAN(1.0, [4], 0.0, "auto", 0, False, True, 1.0), "dimension=0: at least 1"),
        (lambda: built(net(), target=3), "loss 'cdan' reads source data"),
        (lambda: built(net(), target=1, source=1), "loss 'cdan' compares classes, and there is one"),
        (
            lambda: built(net(), task=Regression(nn.Linear, "r2", "squared")),
            "loss 'cdan' reads a logit for each class: choose task=classification",
        ),
    ],
)
def test_what_does_not_fit_is_said(make, said):
    with pytest.raises(InputError, match=said):
        make()
