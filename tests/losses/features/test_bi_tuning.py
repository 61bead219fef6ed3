import copy
from functools import partial
from math import exp, log

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from transferlab.backbones.recurrent import recurrent
from transferlab.backbones.small import convnet
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.inputs.series import SeriesInput
from transferlab.losses.base import Observation, Setting, Step
from transferlab.losses.features.bi_tuning import BiTuning, categorical_contrast
from transferlab.losses.features.exact import unit
from transferlab.tasks import heads
from transferlab.tasks.classification import Classification
from transferlab.tasks.multilabel import MultiLabel

TASK = Classification(nn.Linear, "accuracy", None, 0.0, 0.0, "cross_entropy")


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def units(rows, size, seed):
    return unit(drawn(rows, size, seed=seed))


def dot(a, b):
    return sum(x * y for x, y in zip(a.tolist(), b.tolist(), strict=True))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(0, 6), st.integers(1, 5), st.floats(0.07, 2), st.integers(0, 99))
def test_it_is_the_mean_over_keys_of_a_class_of_a_softmax_over_all_keys(samples, others, size, temperature, seed):
    queries, own, keys = (units(n, size, seed + k) for k, n in enumerate((samples, samples, others)))
    kinds = torch.randint(3, (samples, others), generator=torch.Generator().manual_seed(seed))
    expected = 0.0
    for i in range(samples):
        first = exp(dot(queries[i], own[i]) / temperature)
        scores = {j: exp(dot(queries[i], keys[j]) / temperature) for j in range(others) if kinds[i, j] < 2}
        positives = [first, *(scores[j] for j in scores if kinds[i, j] == 0)]
        whole = first + sum(scores.values())
        expected -= sum(log(score / whole) for score in positives) / len(positives) / samples
    found = categorical_contrast(queries, own, keys, kinds == 0, kinds == 1, temperature)
    assert found.item() == pytest.approx(expected, rel=1e-5, abs=1e-12)


def test_its_gradient_is_right():
    keys, kinds = units(6, 3, 2), torch.randint(3, (4, 6), generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(
        lambda q, k: categorical_contrast(unit(q), unit(k), keys, kinds == 0, kinds == 1, 0.3),
        (drawn(4, 3).requires_grad_(), drawn(4, 3, seed=1).requires_grad_()),
    )


def test_without_another_of_the_class_it_is_torchs_cross_entropy_over_keys():
    q, k, keys = units(4, 3, 0), units(4, 3, 1), units(5, 3, 2)
    none, every = torch.zeros(4, 5, dtype=torch.bool), torch.ones(4, 5, dtype=torch.bool)
    logits = torch.cat([(q * k).sum(1, keepdim=True), q @ keys.T], 1) / 0.2
    expected = nn.functional.cross_entropy(logits, torch.zeros(4, dtype=torch.long))
    torch.testing.assert_close(categorical_contrast(q, k, keys, none, every, 0.2), expected)


def test_the_limits():
    q, keys = units(2, 3, 0), units(4, 3, 1)
    none, every = torch.zeros(2, 4, dtype=torch.bool), torch.ones(2, 4, dtype=torch.bool)
    assert categorical_contrast(q, q, keys, none, none, 0.1).item() == 0  # the own key alone
    alike = q[:1].expand(4, 3)
    found = categorical_contrast(q[:1], q[:1], alike, every[:1], none[:1], 0.1)
    assert found.item() == pytest.approx(log(5))  # five keys that are one


def test_it_is_finite_in_half_precision_at_a_low_temperature():
    q, keys = units(2, 8, 0).bfloat16(), units(4, 8, 1).bfloat16()
    every = torch.ones(2, 4, dtype=torch.bool)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert categorical_contrast(q, q, keys, ~every, every, 0.005).isfinite()


@pytest.fixture
def net():
    torch.manual_seed(0)
    return convnet(ArrayInput.of(1, 8, 8), [3, 4]).train(), nn.Linear(4, 2)


def loss_of(net, momentum=0.9, queue=5, task=TASK, classes=2, example=None):
    torch.manual_seed(3)
    loss = BiTuning(1.0, 3, 0.5, queue, momentum)
    example = torch.zeros(2, 1, 8, 8) if example is None else example
    loss.prepare(Setting(*net, task, {"target": classes}, example, True))
    return loss


def step(net, seed=1, y=(0, 1, 0)):
    y = torch.tensor(y)
    x = torch.randn(len(y), 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    features = net[0](x)
    return Step(*net, TASK, {"target": Observation(x, y, {}, features, net[1](features))})


def moved(net, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in net[0].parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator))


@pytest.mark.parametrize("head", ["linear", "cosine"])
def test_keys_are_the_copys_of_this_batch_and_of_those_before(net, head):
    linear = head == "linear"
    net = (net[0], net[1] if linear else heads.cosine(4, 2, scale=10.0, learned=True))
    loss = loss_of(net)
    copied, projection = copy.deepcopy(net[0]), copy.deepcopy(loss.projection)
    past_features, past_projections, past_y = torch.zeros(0, 5 if linear else 4), torch.zeros(0, 3), []

    def extended(features):
        return unit(torch.cat([features, torch.ones(3, 1)], 1) if linear else features)

    for seed in (1, 2, 3):
        moved(net, seed)
        one = step(net, seed)
        target = one.observed["target"]
        with torch.no_grad():
            for theirs, ours in zip(copied.parameters(), net[0].parameters(), strict=True):
                theirs.copy_(0.9 * theirs + 0.1 * ours)
            own = copied(target.x)
        features = torch.cat([extended(own), past_features])
        projections = torch.cat([unit(projection(own)), past_projections])
        y = [*target.y.tolist(), *past_y]
        same = torch.tensor([[i != j and y[i] == y[j] for j in range(len(y))] for i in range(3)])
        other = torch.tensor([[y[i] != y[j] for j in range(len(y))] for i in range(3)])
        weights = torch.cat([net[1].weight, net[1].bias[:, None]], 1) if linear else net[1].weight
        contrast = partial(categorical_contrast, same=same, other=other, temperature=0.5)
        by_classifier = contrast(unit(weights)[target.y], extended(target.features), features)
        by_projection = contrast(unit(projection(target.features)), projections[:3], projections)
        torch.testing.assert_close(loss(one), by_classifier + by_projection)
        # the queue holds five, the oldest first
        past_features = torch.cat([past_features, features[:3]])[-5:]
        past_projections = torch.cat([past_projections, projections[:3]])[-5:]
        past_y = [*past_y, *y[:3]][-5:]


def test_the_copy_follows_once_a_training_step_and_never_else(net):
    loss = loss_of(net)
    start = {key: value.clone() for key, value in loss.state_dict().items()}
    moved(net, 1)
    loss.eval()
    net[0].eval()
    for _ in range(2):
        assert loss(step(net)).isfinite()
    assert all(torch.equal(value, start[key]) for key, value in loss.state_dict().items())
    loss.train()
    net[0].train()
    loss(step(net))
    assert int(loss.queue.pushed) == 3
    names = [name for name, _ in net[0].named_parameters()]
    for name, ours in zip(names, net[0].parameters(), strict=True):
        expected = 0.9 * start[f"keys.backbone.{name}"] + 0.1 * ours.detach()
        torch.testing.assert_close(loss.state_dict()[f"keys.backbone.{name}"], expected)


def test_with_a_momentum_of_1_the_copy_stays(net):
    loss = loss_of(net, momentum=1)
    before = [p.clone() for p in loss.keys.parameters()]
    moved(net, 1)
    loss(step(net))
    assert all(torch.equal(a, b) for a, b in zip(before, loss.keys.parameters(), strict=True))


def test_the_copy_is_frozen_where_the_net_is(net):
    loss = loss_of(net)
    net[0].set_trainable({"block2"})
    statistics = [loss.keys["backbone"].net.get_submodule(f"block{n}.1").running_mean for n in (1, 2)]
    before = [one.clone() for one in statistics]
    loss(step(net))
    assert torch.equal(statistics[0], before[0]) and not torch.equal(statistics[1], before[1])


def test_net_classifier_and_projection_learn_and_the_copy_does_not(net):
    loss = loss_of(net)
    loss(step(net)).backward()
    assert net[0].net.block1[0].weight.grad.abs().sum() > 0 and net[1].weight.grad.abs().sum() > 0
    assert loss.projection.weight.grad.abs().sum() > 0
    assert all(p.grad is None and not p.requires_grad for p in loss.keys.parameters())


def test_a_reloaded_loss_goes_on_as_the_saved_one_would(net):
    loss = loss_of(net)
    for seed in (1, 2):
        moved(net, seed)
        loss(step(net, seed))
    resumed = loss_of(net)
    resumed.load_state_dict(copy.deepcopy(loss.state_dict()))
    for seed in (3, 4, 5):
        moved(net, seed)
        one = step(net, seed)
        assert torch.equal(loss(one), resumed(one))


def test_a_batch_of_one_has_nothing_to_contrast_until_there_is_a_queue(net):
    net[0].eval()
    loss = loss_of(net)
    assert loss(step(net, y=(0,))).item() == 0 and loss(step(net, y=(1,))).item() > 0


def test_sequences_are_contrasted_by_their_features():
    torch.manual_seed(0)
    input = SeriesInput(2, None, "resample", "none")
    backbone = recurrent(input, "gru", 6, 1, False, 0.0, "mean", 5)
    net, x, y = (backbone, nn.Linear(6, 2)), input.example(3), torch.tensor([0, 1, 0])
    loss = loss_of(net, example=x)
    for _ in range(2):
        features = backbone(x)
        value = loss(Step(*net, TASK, {"target": Observation(x, y, {}, features, net[1](features))}))
    value.backward()
    assert value > 0 and all(p.grad is not None for p in backbone.parameters())


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda net: loss_of((net[0], heads.mlp(4, 2, widths=[5], dropout=0.0))),
            "task/head=linear or cosine",
        ),
        (lambda net: loss_of(net, task=MultiLabel(nn.Linear, "auroc", None)), "choose task=classification"),
        (lambda net: BiTuning(1.0, 3, 0.0, 5, 0.9), "temperature=0.0: a number above 0"),
        (lambda net: BiTuning(1.0, 3, 0.1, 0, 0.9), "queue=0: at least 1"),
        (lambda net: BiTuning(1.0, 0, 0.1, 5, 0.9), "dimension=0: at least 1"),
        (lambda net: BiTuning(1.0, 3, 0.1, 5, 1.5), "momentum=1.5: a share"),
        (lambda net: loss_of(net)(step(net, y=((0.5, 0.5), (1.0, 0.0)))), "does not mix images"),
    ],
)
def test_what_does_not_fit_is_said(make, said, net):
    with pytest.raises(InputError, match=said):
        make(net)
