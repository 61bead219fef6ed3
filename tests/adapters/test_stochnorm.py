"""Stochastic normalisation: its formula, its two ends, and that outside of training it is BatchNorm."""

import copy

import pytest
import torch
from adapted import IMAGES, adapted, of_images, of_vectors, stirred, train
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim.swa_utils import AveragedModel, update_bn

from transferlab.adapters.stochnorm import StochasticNormalisation, StochNorm, plain, stochastic
from transferlab.averaging import recompute
from transferlab.backbones.base import Backbone
from transferlab.backbones.stages import Stage
from transferlab.backbones.timm import named
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput

SHAPES = {nn.BatchNorm1d: (), nn.BatchNorm2d: (3, 2)}


def norm(kind, channels, dtype=torch.float64):
    layer = kind(channels).to(dtype)
    with torch.no_grad():
        for tensor in (layer.weight, layer.bias, layer.running_mean):
            tensor.copy_(torch.randn(channels))
        layer.running_var.copy_(torch.rand(channels) + 0.5)
    return layer


def naive(x, s, layer):
    """Channel by channel, with the biased variance of the batch or the moving one."""
    y = torch.empty_like(x)
    for c in range(x.shape[1]):
        mean, variance = x[:, c].mean(), (x[:, c] - x[:, c].mean()).square().mean()
        if not s[c]:
            mean, variance = layer.running_mean[c], layer.running_var[c]
        y[:, c] = layer.weight[c] * (x[:, c] - mean) / (variance + layer.eps).sqrt() + layer.bias[c]
    return y


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from(list(SHAPES)),
    st.integers(2, 5),
    st.integers(1, 6),
    st.floats(0, 1),
    st.integers(0, 99),
    st.booleans(),
)
def test_each_channel_is_normalised_by_the_batch_or_by_the_moving_statistics(kind, samples, channels, p, seed, steps):
    torch.manual_seed(seed)
    size = (5,) if steps and kind is nn.BatchNorm1d else SHAPES[kind]
    layer, x = norm(kind, channels), torch.randn(samples, channels, *size, dtype=torch.float64)
    upstream = torch.randn_like(x)
    before, ours, theirs = copy.deepcopy(layer), x.clone().requires_grad_(), x.clone().requires_grad_()
    stoch = stochastic(layer, p)
    torch.manual_seed(seed + 1)
    y = stoch(ours)
    torch.manual_seed(seed + 1)
    expected = naive(theirs, torch.rand(channels) < p, before)
    torch.testing.assert_close(y, expected)
    # the gradient too is that of the statistics before the call
    y.backward(upstream)
    expected.backward(upstream)
    torch.testing.assert_close(ours.grad, theirs.grad)
    for name in ("weight", "bias"):
        torch.testing.assert_close(getattr(stoch, name).grad, getattr(before, name).grad)


def test_the_share_of_channels_by_the_batch_is_p_and_each_call_draws_anew():
    torch.manual_seed(0)
    layer, x = norm(nn.BatchNorm1d, 1000), torch.randn(4, 1000, dtype=torch.float64)
    batch, moving = copy.deepcopy(layer)(x), copy.deepcopy(layer).eval()(x)
    found = []
    for _ in range(2):
        y = copy.deepcopy(stochastic(copy.deepcopy(layer), 0.3)).train()(x)
        chosen = torch.isclose(y, batch).all(0)
        assert torch.isclose(y, moving).all(0)[~chosen].all()
        assert chosen.double().mean() == pytest.approx(0.3, abs=0.06)  # four deviations of 1000 draws
        found.append(chosen)
    assert not torch.equal(*found)


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("p", [0.0, 1.0])
def test_at_its_ends_it_is_batchnorm_in_training_and_in_evaluation_mode_bit_for_bit(kind, p):
    torch.manual_seed(0)
    layer = norm(kind, 4, torch.float32)
    stoch, statistics = stochastic(copy.deepcopy(layer), p), copy.deepcopy(layer)
    for _ in range(3):
        x = torch.randn(5, 4, *SHAPES[kind])
        ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
        layer.train(p == 1)
        layer.load_state_dict(statistics.state_dict())
        y, expected = stoch(ours), layer(theirs)
        assert torch.equal(y, expected)
        y.square().sum().backward()
        expected.square().sum().backward()
        assert torch.equal(ours.grad, theirs.grad)
        # the statistics go on either way, as BatchNorm's do
        statistics(x)
        assert all(torch.equal(a, b) for a, b in zip(stoch.buffers(), statistics.buffers(), strict=True))


def test_frozen_it_is_batchnorm():
    torch.manual_seed(0)
    layer, x = norm(nn.BatchNorm2d, 4), torch.randn(5, 4, 3, 2, dtype=torch.float64)
    before = copy.deepcopy(layer).eval()
    stoch = stochastic(layer, 0.5).eval()
    assert torch.equal(stoch(x), before(x))
    assert stoch.state_dict().keys() == before.state_dict().keys()
    assert all(
        torch.equal(a, b) for a, b in zip(stoch.state_dict().values(), before.state_dict().values(), strict=True)
    )


def test_the_net_begins_as_it_was_trains_whole_and_merged_has_its_own_layers_again():
    before, net, x = adapted(StochasticNormalisation(0.5, None, "merged"), of_images())
    assert torch.equal(net(x), before(x))
    net.set_trainable(net.parametric)
    net.train()(x).square().sum().backward()
    assert all(p.grad is not None for p in net.net.parameters())
    assert all(module.training for module in net.modules())
    assert all(key in net.changing() for key in net.net.state_dict())
    expected = stirred(net).eval()(x)
    assert not torch.allclose(expected, before(x), rtol=1e-2)
    StochasticNormalisation(0.5, None, "merged").merge(net)
    assert [type(module) for module in net.modules()] == [type(module) for module in before.modules()]
    assert torch.equal(net(x), expected)


def test_a_frozen_stage_draws_nothing_and_stages_say_whose_layers_change():
    _, net, x = adapted(StochasticNormalisation(0.5, ["block2"], "merged"), of_images())
    changed = [path for path, module in net.net.named_modules() if isinstance(module, StochNorm)]
    assert changed == ["block2.1"]
    net.set_trainable(["block1"])
    net.train()
    state = torch.get_rng_state()
    net(x)
    assert torch.equal(torch.get_rng_state(), state)
    net.set_trainable(["block1"], "trains")
    net(x)
    assert not torch.equal(torch.get_rng_state(), state)


def test_dropout_and_activation_inside_timms_layers_stay():
    torch.manual_seed(0)
    backbone = named(ArrayInput.of(3, 32, 32), "tf_efficientnet_lite0")
    before, net, x = adapted(StochasticNormalisation(1.0, None, "merged"), (backbone, torch.randn(3, 3, 32, 32)))
    kinds = {type(module).__name__ for module in before.modules()}
    assert "BatchNormAct2d" in kinds and not any("BatchNorm" in type(module).__name__ for module in net.modules())
    assert list(net.net.state_dict()) == list(before.net.state_dict())
    assert torch.equal(net(x), before(x))
    assert torch.equal(net.train()(x), before.train()(x))
    assert torch.equal(net.eval()(x), before.eval()(x))
    StochasticNormalisation(1.0, None, "merged").merge(net)
    assert {type(module).__name__ for module in net.modules()} == kinds
    assert torch.equal(net(x), before(x))


def test_statistics_are_gathered_anew_as_of_batchnorm():
    before, net, _ = adapted(StochasticNormalisation(0.5, None, "merged"), of_images())
    batches = [torch.randn(5, 1, 8, 8) for _ in range(4)]
    theirs = AveragedModel(before)
    update_bn(batches, theirs)
    recompute(net.train(), batches)
    pairs = zip(net.buffers(), theirs.module.buffers(), strict=True)
    assert all(torch.equal(ours, one) for ours, one in pairs)
    assert all(module.momentum == 0.1 for module in net.modules() if isinstance(module, StochNorm))


def test_what_has_no_moving_statistics_or_is_of_another_kind_is_refused():
    with pytest.raises(InputError, match=r"p=1\.5: a probability"):
        StochasticNormalisation(1.5, None, "merged")
    with pytest.raises(InputError, match="'mlp' has no BatchNorm in the stages layer1, layer2"):
        adapted(StochasticNormalisation(0.5, None, "merged"), of_vectors())
    for layer, words in (
        (nn.BatchNorm2d(1, track_running_stats=False), "needs moving statistics"),
        (nn.BatchNorm2d(1, momentum=None), "needs moving statistics"),
        (nn.SyncBatchNorm(1), "this net has a SyncBatchNorm"),
    ):
        net = Backbone(nn.Sequential(layer), [Stage("norm", ["0"])], 1, "net")
        with pytest.raises(InputError, match=words):
            StochasticNormalisation(0.5, None, "merged").insert(net, IMAGES.example(2))


def test_plain_undoes_it():
    layer = nn.BatchNorm1d(3)
    assert plain(stochastic(layer, 0.5)) is layer and type(layer) is nn.BatchNorm1d
    assert layer.__dict__.keys() == nn.BatchNorm1d(3).__dict__.keys()


@pytest.mark.slow
def test_at_p_1_a_run_is_fine_tuning_and_its_weights_are_a_plain_nets(tmp_path):
    plain_run, folder = train(tmp_path, "plain", "strategy=full_finetune")
    one, ones = train(tmp_path, "one", "strategy=stochnorm", "strategy.adapter.p=1")
    half, halves = train(tmp_path, "half", "strategy=stochnorm")
    losses = [[row["train/task_loss"] for row in record["history"]] for record in (plain_run, one, half)]
    assert losses[0] == losses[1] != losses[2]
    kept = [torch.load(run / "selected.pt", weights_only=True) for run in (folder, ones, halves)]
    assert kept[0].keys() == kept[1].keys() == kept[2].keys()
    assert all(torch.equal(kept[0][key], kept[1][key]) for key in kept[0])
    assert half["cost"]["trainable_parameters"] == half["cost"]["total_parameters"]
