from dataclasses import replace

import pytest
import torch
from torch import nn

from transferlab.backbones.small import convnet, mlp
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.losses.base import Setting, Step
from transferlab.losses.weights.l2_sp import L2SP, l2_sp
from transferlab.tasks.classification import Classification

SHAPES = [(3, 4), (5,), (2, 3, 2), (1,)]


def tensors(seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in SHAPES]


@pytest.fixture
def net():
    torch.manual_seed(0)
    return convnet(ArrayInput.of(1, 8, 8), [3, 4]), nn.Linear(4, 2)


def setting(net, from_source=True):
    return Setting(
        *net,
        Classification(nn.Linear, "accuracy", None, 0.0, 0.0, "cross_entropy"),
        {"target": 2},
        torch.zeros(2, 1, 8, 8),
        from_source,
    )


def step(net):
    return Step(*net, Classification(nn.Linear, "accuracy", None, 0.0, 0.0, "cross_entropy"), {})


def move(net, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in net:
            for parameter in module.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator))


def test_the_function_is_the_papers_sum_over_every_weight():
    shared, start, new = tensors(0), tensors(1), tensors(2)
    alpha, beta = 0.3, 0.07
    expected = 0.0
    for w, w0 in zip(shared, start, strict=True):
        for value, value0 in zip(w.flatten().tolist(), w0.flatten().tolist(), strict=True):
            expected += alpha / 2 * (value - value0) ** 2
    for w in new:
        for value in w.flatten().tolist():
            expected += beta / 2 * value**2
    found = l2_sp(shared, start, new, alpha, beta)
    assert found.dtype == torch.float64
    assert found.item() == pytest.approx(expected, rel=1e-12)


def test_the_gradient_is_alpha_times_the_way_from_the_start_and_beta_times_the_new_weights():
    shared = [w.requires_grad_() for w in tensors(0)]
    new = [w.requires_grad_() for w in tensors(2)]
    start = tensors(1)
    l2_sp(shared, start, new, 0.3, 0.07).backward()
    for w, w0 in zip(shared, start, strict=True):
        torch.testing.assert_close(w.grad, 0.3 * (w.detach() - w0), rtol=1e-12, atol=1e-12)
    for w in new:
        torch.testing.assert_close(w.grad, 0.07 * w.detach(), rtol=1e-12, atol=1e-12)


def test_it_is_0_at_the_start_without_a_pull_on_the_new_weights():
    assert l2_sp(tensors(0), tensors(0), tensors(2), 0.3, 0.0).item() == 0


def test_a_start_of_other_weights_raises():
    with pytest.raises(ValueError):
        l2_sp(tensors(0), tensors(1)[:-1], [], 0.3, 0.0)


def test_the_loss_pulls_towards_the_weights_at_preparation(net):
    backbone, head = net
    loss = L2SP(1.0, 0.3, 0.07)
    loss.prepare(setting(net))
    start = [p.detach().clone() for p in backbone.parameters()]
    move(net, 1)
    expected = sum(0.15 * (p - p0).square().sum() for p, p0 in zip(backbone.parameters(), start, strict=True))
    expected = expected + sum(0.035 * p.square().sum() for p in head.parameters())
    value = loss(step(net))
    torch.testing.assert_close(value, expected)
    value.backward()
    for p, p0 in zip(backbone.parameters(), start, strict=True):
        torch.testing.assert_close(p.grad, 0.3 * (p.detach() - p0))
    for p in head.parameters():
        torch.testing.assert_close(p.grad, 0.07 * p.detach())


def test_a_head_that_comes_from_the_source_is_pulled_towards_it(net):
    backbone, head = net
    loss = L2SP(1.0, 0.3, 0.07)
    loss.prepare(replace(setting(net), head_from_source=True))
    start = [p.detach().clone() for part in net for p in part.parameters()]
    assert loss(step(net)).item() == 0
    move(net, 1)
    moved = [*backbone.parameters(), *head.parameters()]
    torch.testing.assert_close(
        loss(step(net)), sum(0.15 * (p - p0).square().sum() for p, p0 in zip(moved, start, strict=True))
    )


def test_at_the_start_the_loss_is_the_heads_decay_alone(net):
    loss = L2SP(1.0, 0.3, 0.0)
    loss.prepare(setting(net))
    assert loss(step(net)).item() == 0


def test_anchors_are_in_the_state_dict_and_train_nothing(net):
    backbone, _ = net
    loss = L2SP(1.0, 0.3, 0.07)
    loss.prepare(setting(net))
    kept = list(loss.state_dict().values())
    for anchor, parameter in zip(kept, backbone.parameters(), strict=True):
        assert torch.equal(anchor, parameter)
        assert anchor.data_ptr() != parameter.data_ptr()
    assert not list(loss.parameters())


def test_anchors_survive_a_reload_after_the_weights_moved(net):
    loss = L2SP(1.0, 0.3, 0.07)
    loss.prepare(setting(net))
    saved = {key: value.clone() for key, value in loss.state_dict().items()}
    move(net, 1)
    expected = loss(step(net))
    resumed = L2SP(1.0, 0.3, 0.07)
    resumed.prepare(setting(net))
    assert resumed(step(net)) < expected
    resumed.load_state_dict(saved)
    torch.testing.assert_close(resumed(step(net)), expected, rtol=0, atol=0)


def test_anchors_of_another_net_are_refused(net):
    loss = L2SP(1.0, 0.3, 0.07)
    loss.prepare(setting(net))
    other = L2SP(1.0, 0.3, 0.07)
    other.prepare(setting((mlp(ArrayInput.of(4), [3]), nn.Linear(3, 2))))
    with pytest.raises(RuntimeError, match="start_"):
        other.load_state_dict(loss.state_dict())


def test_without_a_source_it_raises(net):
    with pytest.raises(InputError, match=r"loss 'l2_sp'.*set source"):
        L2SP(1.0, 0.3, 0.07).prepare(setting(net, from_source=False))


def test_unprepared_it_raises_instead_of_giving_0(net):
    with pytest.raises(ValueError):
        L2SP(1.0, 0.3, 0.07)(step(net))


def test_it_takes_the_place_of_weight_decay():
    assert L2SP(1.0, 0.3, 0.07).replaces_weight_decay
