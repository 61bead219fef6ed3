from dataclasses import replace
from math import exp, log

import pytest
import torch
from adversarial_nets import CLASSES, close, drawn, features, gradients, net, prepared, step
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from views import softmax, study

from transferlab.errors import InputError
from transferlab.losses.domains.discriminator import domain_cross_entropy
from transferlab.losses.domains.pada import PADA, class_weights, pada


def built(parts, reversal=0.7, hidden=(4,), **more):
    return prepared(PADA(1.0, list(hidden), 0.0, reversal), parts, **more)


def sigmoid(x):
    return 1 / (1 + exp(-x))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(2, 5), st.integers(0, 99))
def test_it_is_both_losses_with_each_source_sample_by_the_weight_of_its_class(n, m, classes, seed):
    logits, source, target = drawn(n, classes, seed=seed), drawn(n, seed=seed + 1), drawn(m, seed=seed + 2)
    weights = drawn(classes, seed=seed + 3).abs()
    y = torch.randint(classes, (n,), generator=torch.Generator().manual_seed(seed))
    expected = -sum(log(1 - sigmoid(one)) for one in target.tolist()) / m / 2
    for row, label, score in zip(logits.tolist(), y.tolist(), source.tolist(), strict=True):
        gamma = weights[label].item()
        expected -= gamma * (log(softmax(row)[label]) + log(sigmoid(score)) / 2) / n
    assert pada(logits, y, source, target, weights).item() == pytest.approx(expected, rel=1e-9)


def test_its_gradient_is_right():
    y, weights = torch.tensor([0, 2, 1, 1]), torch.tensor([1.0, 0.2, 0.0]).double()
    sides = drawn(4, 3).requires_grad_(), drawn(4, seed=1).requires_grad_(), drawn(3, seed=2).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b, c: pada(a, y, b, c, weights), sides)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.integers(2, 5), st.integers(0, 99))
def test_class_weights_are_the_mean_prediction_by_its_largest_entry(count, classes, seed):
    rows = (3 * drawn(count, classes, seed=seed)).softmax(1)
    mean = [sum(row[c] for row in rows.tolist()) / count for c in range(classes)]
    assert class_weights(rows).tolist() == pytest.approx([one / max(mean) for one in mean], rel=1e-9)


def test_classes_that_weigh_alike_make_it_the_sources_loss_and_danns():
    logits, y, source, target = drawn(4, 3), torch.tensor([0, 2, 1, 1]), drawn(4, seed=1), drawn(5, seed=2)
    expected = F.cross_entropy(logits, y) + domain_cross_entropy(source, target)
    torch.testing.assert_close(pada(logits, y, source, target, torch.ones(3).double()), expected)


def test_a_source_sample_of_a_class_that_the_target_lacks_counts_for_nothing():
    y, weights = torch.tensor([0, 2, 1]), torch.tensor([1.0, 0.5, 0.0]).double()
    parts = drawn(3, 3).requires_grad_(), drawn(3, seed=1).requires_grad_()
    value = pada(parts[0], y, parts[1], drawn(2, seed=2), weights)
    for gradient in torch.autograd.grad(value, parts):
        assert not gradient[1].any() and gradient[0].any() and gradient[2].any()


@pytest.mark.parametrize(("n", "m"), [(4, 4), (1, 3), (3, 1)])
def test_features_climb_the_discriminators_part_alone(n, m):
    parts = net()
    loss, present = built(parts), step(parts, n, m)
    loss.weights.copy_(torch.tensor([1.0, 0.3, 0.6]))
    own = loss.weights[present.observed["source"].y]
    seen = features(present)
    first, second = (loss.discriminator(one) for one in seen)
    solved = (own * F.cross_entropy(parts[1](seen[0]), present.observed["source"].y, reduction="none")).mean()
    told = ((own * F.softplus(-first)).mean() + F.softplus(second).mean()) / 2
    value = loss(present)
    torch.testing.assert_close(value, solved + told)
    discriminator = list(loss.parameters())
    close(gradients(value, discriminator), gradients(told, discriminator))
    close(gradients(value, seen), gradients(solved - 0.7 * told, seen))


def test_weights_are_1_at_first_and_then_those_of_the_whole_target():
    parts = net()
    loss = built(parts)
    assert loss.restudies == {"unlabeled"} and torch.equal(loss.weights, torch.ones(CLASSES))
    x = drawn(8, 6).float()
    loss.study(study(parts, x))
    torch.testing.assert_close(loss.weights, class_weights(parts[1](parts[0](x)).softmax(1)))
    assert loss.weights.max() == 1 and not loss.weights.requires_grad
    assert "weights" in loss.state_dict()


def test_labels_that_are_mixed_are_refused():
    parts = net()
    loss, present = built(parts), step(parts)
    source = present.observed["source"]
    present.observed["source"] = replace(source, y=F.one_hot(source.y, CLASSES).float())
    with pytest.raises(InputError, match=r"loss 'pada' takes one class a sample.*does not mix images"):
        loss(present)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: PADA(1.0, [0], 0.0, 1.0), r"strategy.losses.pada.hidden=\[0\]"),
        (lambda: built(net(), target=3), "loss 'pada' reads source data, but this source has none"),
    ],
)
def test_what_does_not_fit_is_said(make, said):
    with pytest.raises(InputError, match=said):
        make()
