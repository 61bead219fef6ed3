"""peft's layers against the papers' formulas, and where they are put."""

import pytest
import torch
from adapted import adapted, of_images, of_vectors, stirred
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from transferlab.adapters.peft import IA3, Lora
from transferlab.backbones.base import Backbone
from transferlab.backbones.stages import Stage
from transferlab.errors import InputError

KINDS = ["linear", "conv"]


def lora(rank=2, alpha=4, dropout=0.0, decomposed=False, layers=KINDS, modules=("*",), stages=None, save="merged"):
    return Lora(rank, alpha, dropout, decomposed, layers, list(modules), stages, save)


def ia3(feedforward=(), layers=KINDS, modules=("*",), stages=None):
    return IA3(list(feedforward), layers, list(modules), stages, "merged")


def layer(features, outputs):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(features, outputs).double())
    return Backbone(net, [Stage("layer", ["0"])], outputs, "layer"), torch.randn(4, features, dtype=torch.float64)


def of_layer(net, word):
    (found,) = (p.tolist() for name, p in net.named_parameters() if word in name)
    return found


SHAPES = (st.integers(1, 5), st.integers(1, 5), st.integers(1, 3))


@settings(max_examples=20, deadline=None)
@given(*SHAPES, st.integers(1, 9))
def test_lora_is_the_low_rank_update_written_out(features, outputs, rank, alpha):
    plain, net, x = adapted(lora(rank, alpha), layer(features, outputs))
    stirred(net)
    a, b, weight = of_layer(net, "lora_A"), of_layer(net, "lora_B"), plain.net[0].weight.tolist()
    bias = plain.net[0].bias.tolist()
    for sample, found in zip(x.tolist(), net(x).tolist(), strict=True):
        for o in range(outputs):
            expected = bias[o]
            for i in range(features):
                update = sum(b[o][r] * a[r][i] for r in range(rank)) * alpha / rank
                expected += (weight[o][i] + update) * sample[i]
            assert found[o] == pytest.approx(expected, rel=1e-5, abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(*SHAPES, st.integers(1, 9))
def test_dora_is_the_update_of_length_1_times_a_magnitude(features, outputs, rank, alpha):
    plain, net, x = adapted(lora(rank, alpha, decomposed=True), layer(features, outputs))
    stirred(net)
    a, b, m = (of_layer(net, word) for word in ("lora_A", "lora_B", "magnitude"))
    weight, bias = plain.net[0].weight.tolist(), plain.net[0].bias.tolist()
    for sample, found in zip(x.tolist(), net(x).tolist(), strict=True):
        for o in range(outputs):
            row = [weight[o][i] + sum(b[o][r] * a[r][i] for r in range(rank)) * alpha / rank for i in range(features)]
            length = sum(value**2 for value in row) ** 0.5
            expected = bias[o] + m[o] * sum(v * value for v, value in zip(row, sample, strict=True)) / length
            assert found[o] == pytest.approx(expected, rel=1e-5, abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.booleans())
def test_ia3_scales_outputs_or_inputs(features, outputs, feedforward):
    plain, net, x = adapted(ia3(["0"] if feedforward else []), layer(features, outputs))
    stirred(net)
    scale = torch.tensor(of_layer(net, "ia3"), dtype=torch.float64).flatten()
    weight, bias = plain.net[0].weight, plain.net[0].bias
    expected = (x * scale) @ weight.T + bias if feedforward else (x @ weight.T + bias) * scale
    torch.testing.assert_close(net(x), expected)


@pytest.mark.parametrize("made", [lora(), lora(decomposed=True), ia3()], ids=["lora", "dora", "ia3"])
@pytest.mark.parametrize("net", [of_images, of_vectors])
def test_gradients_reach_every_number_and_what_is_zero_stops_being_so(made, net):
    _, found, x = adapted(made, net())
    stirred(found).set_trainable(found.parametric)
    found(x).square().sum().backward()
    ours = [p for name, p in found.net.named_parameters() if name in found.changing()]
    assert ours and all(p.grad is not None and p.grad.abs().sum() > 0 for p in ours)


def test_layers_are_chosen_by_kind_path_and_stage():
    def wrapped(adapter, made=of_images):
        net = adapted(adapter, made())[1].net
        return {name.partition(".lora_A")[0] for name, _ in net.named_parameters() if "lora_A" in name}

    assert wrapped(lora()) == {"block1.0", "block2.0"}
    assert wrapped(lora(stages=[-1])) == {"block2.0"}
    assert wrapped(lora(modules=["block1.*"])) == {"block1.0"}
    assert wrapped(lora(), of_vectors) == {"layer1.0", "layer2.0"}
    with pytest.raises(InputError, match=r"modules: '\*.query' matches none of the layers, e.g. block1.0, block2.0"):
        wrapped(lora(modules=["*.query"]))
    with pytest.raises(InputError, match="'convnet' calls no layer of a kind that can be adapted"):
        wrapped(lora(layers=["linear"]))
    with pytest.raises(InputError, match="there is no stage 'block9'"):
        wrapped(lora(stages=["block9"]))


def test_every_pattern_must_match():
    with pytest.raises(InputError, match=r"modules: 'nosuch\*' matches none"):
        adapted(lora(modules=["*", "nosuch*"]), of_images())
    with pytest.raises(InputError, match=r"feedforward: 'nosuch\*' matches none of the layers, e.g. layer1.0"):
        adapted(ia3(feedforward=["nosuch*"]), of_vectors())


class _Reads(nn.Module):
    """As Swin's attention does, it reads the weight of a layer that it never calls."""

    def __init__(self):
        super().__init__()
        self.read, self.called = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x):
        return self.called(nn.functional.linear(x, self.read.weight))


class _Grouped(nn.Module):
    def __init__(self):
        super().__init__()
        self.depthwise, self.pointwise = nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.Conv2d(4, 2, 1)

    def forward(self, x):
        return self.pointwise(self.depthwise(x)).mean((2, 3))


def test_a_layer_that_is_never_called_and_a_grouped_convolution_stay_as_they_are():
    reads = Backbone(nn.Sequential(_Reads()), [Stage("all", ["0"])], 3, "reads"), torch.randn(2, 3)
    grouped = Backbone(nn.Sequential(_Grouped()), [Stage("all", ["0"])], 2, "grouped"), torch.randn(2, 4, 5, 5)
    for made, layer in ((reads, "0.called"), (grouped, "0.pointwise")):
        _, net, _ = adapted(lora(), made)
        assert {n.partition(".lora")[0] for n, _ in net.net.named_parameters() if "lora" in n} == {layer}
    with pytest.raises(InputError, match="is a grouped convolution"):
        adapted(lora(modules=["*depthwise"]), grouped)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"rank": 0}, "rank=0: at least 1"),
        ({"dropout": 1.0}, r"a share in \[0, 1\)"),
        ({"alpha": 0}, "alpha=0: a number above 0"),
        ({"layers": ["lstm"]}, "there is no strategy.adapter.layers 'lstm'"),
    ],
)
def test_a_wrong_setting_says_what_is_right(wrong, said):
    with pytest.raises(InputError, match=said):
        lora(**wrong)
