"""Residual adapters: both forms against the formulas, merged, and what stays as it is."""

import copy

import pytest
import torch
from adapted import adapted, of_images, of_vectors, stirred, train, watched
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from transferlab.adapters.residual import Parallel, ResidualAdapter, Series
from transferlab.backbones.base import Backbone
from transferlab.backbones.huggingface.vision import tower
from transferlab.backbones.recurrent import recurrent
from transferlab.backbones.stages import Stage
from transferlab.backbones.timm import named
from transferlab.backbones.torchvision.convnets import resnet
from transferlab.backbones.two_tower import two_tower
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.inputs.pair import PairInput
from transferlab.inputs.text import TextInput

FORMS = ["series", "parallel"]
COLOURS = ArrayInput.of(3, 32, 32)
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def residual(form="series", norms=True, modules=("*",), stages=None, save="merged"):
    return ResidualAdapter(form, norms, list(modules), stages, save)


def naive(x, weight, bias, stride, padding, dilation, at):
    """A convolution written out, at each position `at(outputs, inputs at the kernel's middle)`, float64."""
    reach = weight.shape[-1]
    padded = F.pad(x, (padding,) * 4)
    span = dilation * (reach - 1)
    places = range(0, padded.shape[2] - span, stride)
    columns = range(0, padded.shape[3] - span, stride)
    found = []
    for i in places:
        for j in columns:
            patch = padded[:, :, i : i + span + 1 : dilation, j : j + span + 1 : dilation]
            y = torch.einsum("bchw,ochw->bo", patch, weight) + bias
            found.append(at(y, patch[:, :, reach // 2, reach // 2]))
    return torch.stack(found, -1).unflatten(-1, (len(places), len(columns)))


@settings(max_examples=25, deadline=None)
@given(
    inputs=st.integers(1, 4),
    outputs=st.integers(1, 4),
    half=st.integers(1, 2),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    size=st.integers(3, 8),
    biased=st.booleans(),
    form=st.sampled_from(FORMS),
)
def test_banks_compute_the_papers_formulas_and_so_do_their_merged_convolutions(
    inputs, outputs, half, stride, dilation, size, biased, form
):
    """`y + alpha y` at each position, and `y + alpha x` with x at the kernel's middle."""
    options = {"stride": stride, "padding": half * dilation, "dilation": dilation}
    conv = nn.Conv2d(inputs, outputs, 2 * half + 1, bias=biased, **options).double()
    bank = (Series if form == "series" else Parallel)(conv).double()
    x = torch.randn(2, inputs, size, size, dtype=torch.float64)
    assert torch.equal(bank(x), conv(x))
    alpha = torch.randn(outputs, outputs if form == "series" else inputs, dtype=torch.float64)
    bank.alpha.weight.data = alpha[:, :, None, None]
    bias = conv.bias if biased else 0
    expected = naive(
        x, conv.weight, bias, **options, at=lambda y, middle: y + (y if form == "series" else middle) @ alpha.T
    )
    torch.testing.assert_close(bank(x), expected)
    torch.testing.assert_close(bank.merged()(x), expected)


@settings(max_examples=15, deadline=None)
@given(kernel=st.integers(2, 4), padding=st.integers(0, 2), stride=st.integers(1, 2), size=st.integers(5, 8))
def test_in_series_any_kernel_and_padding_will_do(kernel, padding, stride, size):
    assume(padding <= kernel // 2)
    conv = nn.Conv2d(2, 3, kernel, stride, padding, padding_mode="circular" if padding else "zeros").double()
    bank, x = Series(conv).double(), torch.randn(2, 2, size, size, dtype=torch.float64)
    nn.init.normal_(bank.alpha.weight)
    expected = torch.einsum("op,bphw->bohw", torch.eye(3).double() + bank.alpha.weight[:, :, 0, 0], conv(x))
    torch.testing.assert_close(bank(x), expected)
    torch.testing.assert_close(bank.merged()(x), expected)


def of_resnet():
    torch.manual_seed(0)
    return resnet(COLOURS, "resnet18"), torch.randn(2, 3, 32, 32)


def of_timm():
    """Its stem is timm's own convolution, padded as its input needs; all others are depthwise or 1 x 1."""
    torch.manual_seed(0)
    return named(COLOURS, "tf_efficientnet_lite0"), torch.randn(2, 3, 32, 32)


def of_vit():
    torch.manual_seed(0)
    architecture = {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24}
    net = tower(COLOURS, "clip_vision_model", None, {**architecture, "patch_size": 8}, "cls", "sdpa")
    return net, torch.randn(2, 3, 32, 32)


def of_towers():
    torch.manual_seed(0)
    texts = TextInput("words", 50, 8)
    return two_tower(PairInput(COLOURS, texts), of_resnet()[0], of_lstm()[0]), PairInput(COLOURS, texts).example(2)


def of_lstm():
    texts = TextInput("words", 50, 8)
    net = recurrent(texts, "lstm", hidden=6, layers=1, bidirectional=False, dropout=0.0, pooling="last", embedding=5)
    return net, texts.example(2)


CASES = [
    *((form, build) for form in FORMS for build in (of_images, of_resnet, of_towers)),
    ("series", of_timm),
    ("series", of_vit),
]


@pytest.mark.parametrize(("form", "build"), CASES, ids=[f"{form}-{build.__name__}" for form, build in CASES])
def test_a_net_begins_as_it_was_and_merged_computes_the_same(form, build):
    plain, net, x = adapted(residual(form), build())
    torch.testing.assert_close(net(x), plain(x), rtol=1e-6, atol=1e-6)
    expected = stirred(net)(x)
    assert not torch.allclose(expected, plain(x), rtol=1e-3)
    residual(form).merge(net)
    assert net.net.state_dict().keys() == plain.net.state_dict().keys()
    torch.testing.assert_close(net(x), expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("form", FORMS)
def test_half_of_the_way_is_half_of_the_way_between_the_merged_nets(form):
    plain, net, _ = adapted(residual(form), of_images())
    half = copy.deepcopy(stirred(net))
    with torch.no_grad():
        for name, own in half.net.named_parameters():
            if name in half.changing():
                own.lerp_(0 * own if "alpha" in name else plain.net.get_parameter(name), 0.5)
    for one in (net, half):
        residual(form).merge(one)
    for name, weight in plain.net.named_parameters():
        torch.testing.assert_close(half.net.get_parameter(name), (weight + net.net.get_parameter(name)) / 2)


def test_every_convolution_with_a_kernel_has_a_bank_and_no_other():
    _, net, _ = adapted(residual(), of_resnet())
    convs = {path for path, m in of_resnet()[0].net.named_modules() if isinstance(m, nn.Conv2d)}
    banks = {path for path, m in net.net.named_modules() if isinstance(m, Series)}
    assert banks == {path for path in convs if "downsample" not in path} and len(banks) == 17
    _, net, _ = adapted(residual(modules=["*.conv1"], stages=["layer1"]), of_resnet())
    banks = {path for path, m in net.net.named_modules() if isinstance(m, Series)}
    assert banks == {"layer1.0.conv1", "layer1.1.conv1"}


@pytest.mark.parametrize("norms", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_banks_train_and_norms_if_wanted_and_nothing_else(form, norms):
    _, net, x = adapted(residual(form, norms), of_images())
    net.set_trainable(["block2"])
    before = {key: value.clone() for key, value in net.net.state_dict().items()}
    net.train()(x).square().sum().backward()
    trained = {name for name, p in net.net.named_parameters() if p.grad is not None and p.grad.any()}
    own = {"block2.1.weight", "block2.1.bias"} if norms else set()
    assert trained == {"block2.0.alpha.weight"} | own
    assert {name for name, p in net.net.named_parameters() if p.requires_grad} == trained
    moved = {key for key, value in net.net.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == ({f"block2.1.{name}" for name in STATISTICS} if norms else set())


def test_norms_of_other_stages_stay_as_they_are():
    _, net, x = adapted(residual(stages=["block2"]), of_images())
    net.set_trainable(net.parametric)
    before = {key: value.clone() for key, value in net.net.state_dict().items()}
    net.train()(x).square().sum().backward()
    assert not [name for name, p in net.net.named_parameters() if name.startswith("block1") and p.requires_grad]
    moved = {key for key, value in net.net.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == {f"block2.1.{name}" for name in STATISTICS}


@pytest.mark.parametrize("build", [of_vectors, of_lstm], ids=["mlp", "lstm"])
@pytest.mark.parametrize("form", FORMS)
def test_a_net_without_such_convolutions_is_refused(form, build):
    with pytest.raises(InputError, match=r"has no convolution of two dimensions.*: choose a convolutional net"):
        adapted(residual(form), build())


@pytest.mark.parametrize("build", [of_timm, of_vit], ids=["padded by need", "patches"])
def test_in_parallel_a_net_without_centred_kernels_is_refused(build):
    with pytest.raises(InputError, match=r"odd and padded by half of it: set form=series"):
        adapted(residual("parallel"), build())


def test_a_kernel_that_is_not_centred_stays_as_it_is_in_parallel():
    convs = [nn.Conv2d(1, 2, 2), nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 3, padding="same"), nn.Conv2d(2, 2, 3, padding=1)]
    backbone = Backbone(nn.Sequential(*convs), [Stage(f"stage{n}", [str(n)]) for n in range(4)], 2, "four")
    residual("parallel").insert(backbone, torch.randn(2, 1, 8, 8))
    assert [isinstance(m, Parallel) for m in backbone.net.children()] == [False, False, True, True]


class Standardised(nn.Conv2d):
    """A library's convolution that brings its weight to one scale."""

    def forward(self, x):
        return self._conv_forward(x, self.weight / self.weight.norm(), self.bias)


@pytest.mark.parametrize("form", FORMS)
def test_what_cannot_be_merged_exactly_is_refused_where_it_is_to_be_merged(form):
    net = nn.Sequential(Standardised(1, 2, 3, padding=1))
    backbone, x = Backbone(net, [Stage("block1", ["0"])], 2, "own"), torch.randn(2, 1, 8, 8)
    with pytest.raises(InputError, match=r"save=merged: 0 of backbone 'own' is a Standardised.*save=alone"):
        residual(form).insert(copy.deepcopy(backbone), x)
    residual(form, save="alone").insert(backbone, x)
    assert isinstance(backbone.net[0], Series | Parallel)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: residual("beside"), "form=beside: 'series' or 'parallel'"),
        (lambda: residual(save="whole"), "'alone' or 'merged'"),
        (lambda: adapted(residual(modules=["nothing"]), of_resnet()), "modules: 'nothing' matches none of the layers"),
        (
            lambda: adapted(residual(modules=["*downsample*"]), of_resnet()),
            r"e\.g\. layer2\.0\.downsample\.0.*none is a convolution of two dimensions",
        ),
        (lambda: adapted(residual(stages=["layer9"]), of_resnet()), "layer9"),
    ],
)
def test_what_is_no_adapter_is_refused(build, message):
    with pytest.raises(InputError, match=message):
        build()


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_a_run_leaves_the_rest_bit_for_bit_and_merged_scores_the_same(tmp_path, monkeypatch, form):
    modules, starts = watched(monkeypatch)
    words = ("strategy=residual_adapter", f"strategy.adapter.form={form}", "selection=last", "trainer.max_epochs=2")
    record, folder = train(tmp_path, "alone", *words)
    end, kept = modules[-1].state_dict(), torch.load(folder / "last.pt", weights_only=True)
    moved = {key for key, value in end.items() if not torch.equal(value, starts[-2][key]) and "metrics" not in key}
    banks = {f"backbone.net.block{n}.0.alpha.weight" for n in (1, 2)}
    norms = {f"backbone.net.block{n}.1.{name}" for n in (1, 2) for name in ("weight", "bias", *STATISTICS)}
    assert moved == banks | norms | {"head.weight", "head.bias"} == kept.keys()
    merged, folder = train(tmp_path, "merged", *words, "strategy.adapter.save=merged")
    assert merged["metrics"]["last"] == record["metrics"]["last"]
    plain = torch.load(folder / "last.pt", weights_only=True)
    assert {key for key in plain if "backbone" in key} == {
        f"backbone.{key}" for key in of_images((4, 8))[0].state_dict()
    }
    again = ("strategy=linear_probe", "strategy.head=source", "optimizer.lr=1e-12", "selection=last")
    source = ("source=checkpoint", f"source.weights={folder / 'last.pt'}")
    carried, _ = train(tmp_path, "again", *again, source=source)
    for key, value in record["metrics"]["last"].items():
        if key.startswith("test/"):
            assert carried["metrics"]["last"][key] == pytest.approx(value, abs=1e-5)
