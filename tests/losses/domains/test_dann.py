from math import exp, log

import pytest
import torch
from adversarial_nets import FEATURES, close, drawn, features, gradients, net, prepared, step
from hypothesis import given, settings
from hypothesis import strategies as st

from transferlab.backbones.small import convnet
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.losses.domains.dann import DANN
from transferlab.losses.domains.discriminator import domain_cross_entropy
from transferlab.losses.weight import ramp


def dann(parts, reversal=0.7, hidden=(4,), dropout=0.0, **more):
    return prepared(DANN(1.0, list(hidden), dropout, reversal), parts, **more)


def sigmoid(x):
    return 1 / (1 + exp(-x))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 99))
def test_it_is_the_cross_entropy_of_two_domains_that_weigh_half_each(n, m, seed):
    source, target = drawn(n, seed=seed) * 3, drawn(m, seed=seed + 1) * 3
    expected = 0.0
    for one in source.tolist():
        expected -= log(sigmoid(one)) / n / 2
    for one in target.tolist():
        expected -= log(1 - sigmoid(one)) / m / 2
    assert domain_cross_entropy(source, target).item() == pytest.approx(expected, rel=1e-9)


def test_its_gradient_is_right_and_finite_where_a_discriminator_is_sure():
    sides = drawn(4).requires_grad_(), drawn(3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(domain_cross_entropy, sides)
    sure = torch.tensor([-400.0], requires_grad=True)
    domain_cross_entropy(sure, torch.zeros(1)).backward()
    assert sure.grad.item() == -0.5


def test_a_domain_twice_as_large_weighs_no_more():
    source, target = drawn(4), drawn(3, seed=1)
    torch.testing.assert_close(domain_cross_entropy(source.repeat(5), target), domain_cross_entropy(source, target))


@pytest.mark.parametrize(("n", "m"), [(4, 4), (5, 2), (1, 3), (2, 1)])
def test_features_climb_lambda_times_the_loss_that_the_discriminator_descends(n, m):
    parts = net()
    loss, present = dann(parts), step(parts, n, m)
    value = loss(present)
    plain = domain_cross_entropy(*(loss.discriminator.net(one)[:, 0] for one in features(present)))
    torch.testing.assert_close(value, plain)
    close(gradients(value, features(present)), gradients(plain, features(present)), factor=-0.7)
    own = list(loss.parameters())
    close(gradients(value, own), gradients(plain, own))
    assert all(gradient.abs().sum() > 0 for gradient in gradients(value, own))


def test_at_the_start_of_the_ramp_the_backbone_feels_nothing_and_the_discriminator_learns():
    parts = net()
    loss = dann(parts, reversal=lambda progress: ramp(progress, high=1.0, gamma=10.0))
    first, later = step(parts), step(parts, progress=0.5)
    loss(first).backward()
    assert all(one.grad.abs().sum() == 0 for one in features(first))
    assert loss.discriminator.net[0].weight.grad.abs().sum() > 0
    loss(later).backward()
    assert all(one.grad.abs().sum() > 0 for one in features(later))


def test_the_head_is_not_its_business():
    parts = net()
    dann(parts)(step(parts)).backward()
    assert all(p.grad is None for p in parts[1].parameters())


def test_the_discriminator_is_as_the_settings_say_and_in_the_state_dict():
    parts = net()
    loss = dann(parts, hidden=(7, 4), dropout=0.5)
    shapes = [tuple(value.shape) for key, value in loss.state_dict().items() if key.endswith("weight")]
    assert shapes == [(7, FEATURES), (4, 7), (1, 4)]
    assert [part.p for part in loss.modules() if isinstance(part, torch.nn.Dropout)] == [0.5, 0.5]
    assert len(list(loss.parameters())) == 6
    other = dann(parts, hidden=(7, 4), dropout=0.5, seed=4)
    other.load_state_dict(loss.state_dict())
    present = step(parts)
    assert torch.equal(loss.eval()(present), other.eval()(present))


def test_a_discriminator_learns_to_tell_domains_apart_and_a_backbone_unlearns_it():
    parts = net()
    loss = dann(parts, reversal=1.0, hidden=(8,))
    values = []
    for trained, steps in ((loss, 40), (parts[0], 5)):
        optimizer = torch.optim.Adam(trained.parameters(), 0.05)
        for _ in range(steps):
            optimizer.zero_grad()
            loss(step(parts, 16, 16)).backward()
            optimizer.step()
        values.append(loss(step(parts, 16, 16)).item())
    assert values[0] < 0.8 * log(2) < values[1]


def test_maps_count_by_their_mean_over_positions():
    torch.manual_seed(0)
    backbone = convnet(ArrayInput.of(1, 8, 8), [3, 4])
    backbone.cut()
    loss = prepared(DANN(1.0, [], 0.0, 1.0), (backbone, torch.nn.Identity()), example=torch.zeros(2, 1, 8, 8))
    assert loss.discriminator.net[0].in_features == 4


def test_the_length_of_the_features_is_looked_up():
    parts = net(features=9)
    assert dann(parts).discriminator.net[0].in_features == 9


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: DANN(1.0, [0], 0.0, 1.0), r"strategy.losses.dann.hidden=\[0\]: whole numbers above 0"),
        (lambda: DANN(1.0, [4], 1.0, 1.0), r"strategy.losses.dann.dropout=1.0: a share in \[0, 1\)"),
        (lambda: dann(net(), target=3), "loss 'dann' reads source data, but this source has none"),
    ],
)
def test_what_does_not_fit_is_said(make, said):
    with pytest.raises(InputError, match=said):
        make()


@pytest.mark.parametrize("domain", ["source", "unlabeled"])
def test_a_batch_without_one_of_the_domains_raises_and_never_gives_0(domain):
    parts = net()
    loss, present = dann(parts), step(parts)
    del present.observed[domain]
    with pytest.raises(InputError, match=f"loss 'dann' reads the domain '{domain}'"):
        loss(present)
