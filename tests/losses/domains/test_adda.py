from math import exp, log

import pytest
import torch
from adversarial_nets import TASK, close, drawn, features, gradients, net, prepared, step
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from transferlab.backbones.small import convnet
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.losses.base import Observation, Setting, Step
from transferlab.losses.domains.adda import ADDA, mapping


def built(parts, **more):
    return prepared(ADDA(1.0, [4], 0.0), parts, **more)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(0, 99))
def test_the_encoders_loss_has_the_label_inverted(m, seed):
    logits = drawn(m, seed=seed) * 3
    expected = sum(-log(1 / (1 + exp(-one))) for one in logits.tolist()) / m
    assert mapping(logits).item() == pytest.approx(expected, rel=1e-9)


def test_its_gradient_is_right_and_does_not_vanish_where_the_discriminator_is_sure():
    assert torch.autograd.gradcheck(mapping, drawn(4).requires_grad_())
    sure = torch.tensor([-30.0], requires_grad=True)
    mapping(sure).backward()
    assert sure.grad.item() == pytest.approx(-1)  # the reversed gradient of log(1 - D) is e^-30 here


def moved(parts):
    with torch.no_grad():
        for weight in parts[0].parameters():
            weight += 0.1


@pytest.mark.parametrize(("n", "m"), [(4, 3), (1, 5), (2, 1)])
def test_one_backward_pass_gives_each_side_its_own_gradient(n, m):
    parts = net()
    start = net()[0]
    loss = built(parts)
    moved(parts)  # the target's encoder has left the source's
    present = step(parts, n, m)
    theirs = start(present.observed["source"].x).detach()
    ours = features(present)[1]

    def score(vectors):
        return loss.discriminator.net(vectors)[:, 0]

    told = -F.logsigmoid(score(theirs)).mean() - F.logsigmoid(-score(ours)).mean()
    passed = -F.logsigmoid(score(ours)).mean()
    value = loss(present)
    torch.testing.assert_close(value, told + passed)
    own, encoder = list(loss.discriminator.parameters()), list(parts[0].parameters())
    value.backward(retain_graph=True)
    close([p.grad for p in own], gradients(told, own))
    close([p.grad for p in encoder], gradients(passed, encoder))
    assert all(p.grad.abs().sum() > 0 for p in own + encoder)
    assert all(p.grad is None for p in (*parts[1].parameters(), *loss.source.parameters()))


def test_the_reversed_gradient_would_be_another():
    parts = net()
    loss = built(parts)
    present = step(parts)
    ours = features(present)[1]
    (found,) = gradients(loss(present), [ours])
    (reversed_,) = gradients(-F.softplus(loss.discriminator(ours)).mean(), [ours])
    assert not torch.allclose(found, reversed_)


def test_the_source_encoder_stays_as_it_started_and_in_evaluation_mode():
    torch.manual_seed(0)
    backbone, head = convnet(ArrayInput.of(1, 8, 8), [3, 4]), nn.Linear(4, 3)
    loss = ADDA(1.0, [4], 0.0)
    example = torch.zeros(2, 1, 8, 8)
    loss.prepare(Setting(backbone, head, TASK, {"source": 3, "target": 3}, example, True, head_from_source=True))
    before = {key: value.clone() for key, value in loss.source.state_dict().items()}
    assert any("running_mean" in key for key in before)
    optimizer = torch.optim.SGD([*backbone.parameters(), *loss.parameters()], 0.5, weight_decay=0.1)
    loss.train()
    backbone.train()
    assert not any(part.training for part in loss.source.modules()) and loss.discriminator.training
    for seed in range(3):
        observed = {}
        for number, domain in enumerate(("source", "unlabeled")):
            x = drawn(4, 1, 8, 8, seed=seed + number).float()
            z = backbone(x)
            observed[domain] = Observation(x, torch.empty(4, 0), {}, z, head(z))
        optimizer.zero_grad()
        loss(Step(backbone, head, TASK, observed)).backward()
        optimizer.step()
    assert all(torch.equal(value, before[key]) for key, value in loss.source.state_dict().items())
    assert not torch.equal(backbone.net.block1[0].weight, loss.source.backbone.net.block1[0].weight)


def test_copy_and_discriminator_are_in_the_state_dict_and_a_resumed_run_has_the_starting_copy():
    parts = net()
    loss = built(parts)
    keys = loss.state_dict().keys()
    assert any(key.startswith("source.backbone.net.") for key in keys) and "discriminator.net.0.weight" in keys
    moved(parts)
    resumed = built(parts, seed=4)
    present = step(parts)
    assert resumed(present) != loss(present)
    resumed.load_state_dict(loss.state_dict())
    assert torch.equal(resumed(present), loss(present))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ADDA(1.0, [0], 0.0), "strategy.losses.adda.hidden"),
        (lambda: ADDA(1.0, [4], -0.1), "strategy.losses.adda.dropout=-0.1"),
        (lambda: built(net(), target=3), "loss 'adda' reads source data"),
        (lambda: built(net(), head_from_source=False), "strategy.start=source and strategy.head=source"),
    ],
)
def test_what_does_not_fit_is_said(make, said):
    with pytest.raises(InputError, match=said):
        make()
