from dataclasses import replace
from math import exp, sqrt

import pytest
import torch
from feature_nets import (
    SERIES,
    TASK,
    drawn,
    images,
    of_images,
    of_series,
    of_vectors,
    series,
    setting,
    step,
    teacher,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from transferlab.errors import InputError
from transferlab.losses.base import Study
from transferlab.losses.features.channels import fitted, increases
from transferlab.losses.features.delta import Delta, channel_weights, delta
from transferlab.tasks.segmentation import Segmentation


def made(alpha=1.0, beta=0.0, stages=None, attention="softmax", temperature=5.0, samples=256):
    return Delta(1.0, alpha, beta, stages, attention, temperature, samples)


def studied(loss, net, x, y, size=64, **teachers):
    """The loss after it has gone through a split, in evaluation mode as in a run."""
    net[0].eval()

    def batches(domain, at_most):
        assert domain == "target"
        for chosen in torch.arange(len(y)).split(min(size, at_most)):
            yield x[chosen], y[chosen]

    loss.study(Study(*net, TASK, teachers, batches))
    net[0].train()
    return loss


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 4), st.integers(0, 99))
def test_it_is_the_weighted_squared_distance_written_out(samples, places, channels, seed):
    present, start = (drawn(samples, places, channels, seed=seed + n) for n in (0, 1))
    weights, mask = drawn(channels, seed=seed).abs(), drawn(samples, places, seed=seed) > 0
    mask[:, 0] = True
    expected = 0.0
    for a, b, kept in zip(present.tolist(), start.tolist(), mask.tolist(), strict=True):
        for channel, weight in enumerate(weights.tolist()):
            squared = sum((a[p][channel] - b[p][channel]) ** 2 for p in range(places) if kept[p])
            expected += weight * squared / sum(kept) / 2 / samples
    assert delta(present, start, mask, weights).item() == pytest.approx(expected, rel=1e-5, abs=1e-12)


def test_its_gradient_is_right():
    start, mask, weights = drawn(3, 4, 2, seed=1), torch.ones(3, 4, dtype=torch.bool), drawn(2).abs()
    assert torch.autograd.gradcheck(lambda now: delta(now, start, mask, weights), drawn(3, 4, 2).requires_grad_())


def test_it_is_0_at_the_start():
    start = drawn(3, 4, 2)
    assert delta(start, start, torch.ones(3, 4, dtype=torch.bool), torch.ones(2).double()).item() == 0


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-50, 50), min_size=1, max_size=6), st.sampled_from([None, 0.5, 5.0]))
def test_weights_of_channels_are_a_softmax_with_mean_1(tenths, temperature):
    increases = values = [tenth / 10 for tenth in tenths]
    if temperature is not None:
        mean = sum(values) / len(values)
        deviation = sqrt(sum((v - mean) ** 2 for v in values) / len(values))
        values = [(v - mean) / (deviation if deviation > 1e-9 else 1) / temperature for v in values]
    powers = [exp(v) for v in values]
    expected = [len(values) * power / sum(powers) for power in powers]
    found = channel_weights(torch.tensor(increases, dtype=torch.float64), temperature)
    assert found.tolist() == pytest.approx(expected, rel=1e-5)
    assert found.mean().item() == pytest.approx(1)


def test_channels_that_cost_the_same_count_the_same():
    for temperature in (None, 5.0):
        assert channel_weights(torch.full((4,), 0.3), temperature).tolist() == [1, 1, 1, 1]


def test_unweighted_it_holds_every_stage_and_shrinks_a_new_head():
    net, other = of_images(), teacher(of_images(1))
    loss = made(alpha=0.3, beta=0.07, attention="none")
    loss.prepare(setting(net, first=other))
    assert loss.activations == ("block1", "block2") and loss.replaces_weight_decay
    x = images(5)
    now, start = net[0].observe(x, loss.activations)[1], other.backbone.observe(x, loss.activations)[1]
    apart = sum((now[s] - start[s]).square().sum((0, 1)).mean() / 5 for s in loss.activations)
    expected = 0.3 * apart / 2 + 0.07 / 2 * sum(w.square().sum() for w in net[1].parameters())
    torch.testing.assert_close(loss(step(net, loss, x, first=other)), expected)


def test_a_head_from_the_source_does_not_shrink():
    net = of_images()
    net[0].eval()
    other = teacher((of_images()[0], None))
    loss = made(beta=1.0, attention="none")
    loss.prepare(replace(setting(net, first=other), head_from_source=True))
    assert loss(step(net, loss, images(5), first=other)).item() == 0


def test_of_sequences_padding_does_not_count():
    net, other = of_series(), teacher(of_series(1))
    loss = made(stages=["block1"], attention="none")
    loss.prepare(setting(net, SERIES, first=other))
    seen = step(net, loss, series(3), first=other)
    before = loss(seen)
    seen.observed["target"].activations["block1"].h.data[~seen.taught["first"].activations["block1"].mask] = 1e3
    torch.testing.assert_close(loss(seen), before)


def fitted_head(backbone, head, x, y, beta):
    """The minimiser of mean cross-entropy + beta / 2 |w|^2, by Newton's method in float64."""
    features = torch.cat([backbone(x).double(), torch.ones(len(x), 1, dtype=torch.float64)], 1)

    def objective(flat):
        return F.cross_entropy(features @ flat.view(2, -1).T, y) + beta / 2 * flat.square().sum()

    flat = torch.zeros(2 * features.shape[1], dtype=torch.float64)
    for _ in range(30):
        slope = torch.func.grad(objective)(flat)
        flat = flat - torch.linalg.solve(torch.func.hessian(objective)(flat), slope)
    weights = flat.view(2, -1)
    head.load_state_dict({"weight": weights[:, :-1].float(), "bias": weights[:, -1].float()})
    return head


@pytest.mark.parametrize(("make", "stage"), [(of_images, "block1"), (of_images, "block2"), (of_vectors, "layer1")])
def test_channels_are_weighed_by_a_classifier_on_the_starting_nets_features(make, stage):
    """Each channel's weight from the definition: the loss with it at 0 less the loss with all, in a forward hook."""
    start = make(1)
    net, other = make(1), teacher(start)
    x, y = 2 * images(40), (images(40).mean((1, 2, 3)) > 0).long()
    loss = made(stages=[stage], beta=0.05)
    loss.prepare(setting(net, first=other))
    studied(loss, net, x, y, size=16, first=other)
    backbone, head = other.backbone, fitted_head(other.backbone, make()[1], x, y, 0.05)
    module = backbone.net.get_submodule(stage)

    def cost(channel):
        def silence(module, args, output):
            output = output.clone()
            output[:, channel] = 0
            return output

        handle = module.register_forward_hook(silence) if channel is not None else None
        value = F.cross_entropy(head(backbone(x)), y)
        if handle:
            handle.remove()
        return value

    with torch.no_grad():
        channels = backbone.observe(x, [stage])[1][stage].shape[1]
        increase = torch.stack([cost(channel) - cost(None) for channel in range(channels)])
    assert increase.std() > 1e-3
    torch.testing.assert_close(loss.weights_0_0, channel_weights(increase, None), rtol=1e-3, atol=1e-4)


def test_it_is_the_weights_that_were_found_which_count():
    net, other = of_images(), teacher(of_images(1))
    loss = made(stages=[0])
    loss.prepare(setting(net, first=other))
    seen = step(net, loss, images(5), first=other)
    plain = loss(seen)
    studied(loss, net, images(20), torch.arange(20) % 2, first=other)
    weights = loss.weights_0_0
    squared = (seen.observed["target"].activations["block1"] - seen.taught["first"].activations["block1"]).square()
    expected = (squared.mean((2, 3)) * weights).sum(1).mean() / 2
    torch.testing.assert_close(loss(seen), expected)
    assert not torch.isclose(expected, plain) and weights.mean().item() == pytest.approx(1)
    assert "weights_0_0" in loss.state_dict()


def test_it_tries_as_many_samples_as_it_is_told_and_fits_on_all():
    net, other = of_images(), teacher(of_images(1))
    x, y = images(21), torch.arange(21) // 11
    head = fitted(net[1], other.backbone, TASK, [(x, y)], 0.1)
    increase = increases(other.backbone, head, TASK, "block1", x[::5], y[::5])
    loss = made(beta=0.1, stages=[0], samples=5)
    loss.prepare(setting(net, first=other))
    studied(loss, net, x, y, size=8, first=other)
    torch.testing.assert_close(loss.weights_0_0, channel_weights(increase, None), rtol=1e-3, atol=1e-4)


def test_the_study_leaves_head_and_teacher_as_they_are():
    net, other = of_images(), teacher(of_images(1))
    loss = made()
    loss.prepare(setting(net, first=other))
    before = [p.clone() for p in (*net[1].parameters(), *other.parameters())]
    studied(loss, net, images(20), torch.arange(20) % 2, first=other)
    for was, now in zip(before, (*net[1].parameters(), *other.parameters()), strict=True):
        assert torch.equal(was, now) and now.grad is None
    assert not any(buffer.requires_grad for buffer in loss.buffers())


def test_twenty_steps_towards_the_start_lower_it():
    net, other = of_images(), teacher(of_images(1))
    loss = made(attention="none")
    loss.prepare(setting(net, first=other))
    optimizer = torch.optim.SGD(net[0].parameters(), lr=0.05)
    values = []
    for _ in range(20):
        optimizer.zero_grad()
        value = loss(step(net, loss, images(8), first=other))
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < values[0]


def test_what_does_not_fit_is_said():
    net, other = of_images(), teacher(of_images(1))
    with pytest.raises(InputError, match=r"no strategy\.losses\.delta\.attention 'hard'"):
        made(attention="hard")
    with pytest.raises(InputError, match=r"temperature=0"):
        made(temperature=0.0)
    with pytest.raises(InputError, match="this run starts from none"):
        made().prepare(setting(net))
    with pytest.raises(InputError, match="stage 'block2' of the teacher 'first' has others"):
        made().prepare(setting(net, first=teacher(of_images(1, widths=(3, 5)))))
    with pytest.raises(InputError, match=r"delta\.attention=none"):
        made().prepare(setting(net, task=Segmentation(None, None, "miou"), first=other))
    longer = teacher((of_images(1, widths=(3, 4, 5))[0], nn.Linear(5, 2)))
    with pytest.raises(InputError, match="a head on 4 features, the teacher 'first' gives 5"):
        made(stages=[0, 1]).prepare(setting(net, first=longer))
    made(stages=[0, 1], attention="none").prepare(setting(net, first=longer))
