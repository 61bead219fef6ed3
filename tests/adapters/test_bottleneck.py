"""Bottlenecks behind stages and layers, of every kind of value."""

import pytest
import torch
from adapted import adapted, of_images, of_vectors, stirred
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from transferlab.adapters.bottleneck import Bottleneck, BottleneckAdapter
from transferlab.backbones.base import Backbone
from transferlab.backbones.conv1d import conv1d
from transferlab.backbones.stages import Stage
from transferlab.errors import InputError
from transferlab.inputs.series import SeriesInput


def behind(modules=None, stages=None, width=3):
    return BottleneckAdapter(width, modules, stages, "alone")


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 9))
def test_it_adds_a_small_net_to_what_it_gets(features, width, seed):
    torch.manual_seed(seed)
    part = Bottleneck(features, width, maps=False).double()
    nn.init.normal_(part.up.weight)
    nn.init.normal_(part.up.bias)
    down, up = (layer.weight.tolist() for layer in (part.down, part.up))
    h = torch.randn(2, features, dtype=torch.float64)
    for sample, found in zip(h.tolist(), part(h).tolist(), strict=True):
        hidden = [
            max(0.0, sum(w * v for w, v in zip(down[k], sample, strict=True)) + part.down.bias[k].item())
            for k in range(width)
        ]
        for o in range(features):
            expected = sample[o] + sum(up[o][k] * hidden[k] for k in range(width)) + part.up.bias[o].item()
            assert found[o] == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_of_maps_every_position_is_one_sample():
    part = Bottleneck(3, 2, maps=True)
    nn.init.normal_(part.up.weight)
    maps, flat = torch.randn(2, 3, 4, 5), Bottleneck(3, 2, maps=False)
    flat.load_state_dict(part.state_dict())
    torch.testing.assert_close(part(maps), flat(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


class _Last(nn.Module):
    """Maps with the channels last, as in a Swin."""

    def forward(self, x):
        return x.permute(0, 2, 3, 1)


def _first(net, x):
    return x.permute(0, 3, 1, 2)


def _mean(net, x):
    return x.mean((1, 2))


def last():
    net = nn.Sequential(nn.Conv2d(1, 5, 3), _Last())
    stages = [Stage("maps", ["0", "1"]), Stage("pool", [_mean])]
    return Backbone(net, stages, 5, "last", tail="pool", grid=_first), torch.randn(2, 1, 7, 6)


def of_series():
    input = SeriesInput(2, None, "resample", "none")
    return conv1d(input, [3, 4], 3), input.example(2)


@pytest.mark.parametrize("made", [of_images, of_vectors, of_series, last])
def test_it_fits_whatever_a_stage_gives_and_begins_as_the_identity(made):
    plain, net, x = adapted(behind(), made())
    torch.testing.assert_close(net(x), plain(x))
    widths = [part.down.in_features for part in net.net.modules() if isinstance(part, Bottleneck)]
    assert widths == {of_images: [4, 6], of_vectors: [5, 4], of_series: [3, 4], last: [5]}[made]
    assert not torch.allclose(stirred(net)(x), plain(x), rtol=1e-3)
    assert len(list(net.net.state_dict())) == len(list(plain.net.state_dict())) + 4 * len(widths)


def test_it_stands_behind_layers_that_are_named():
    _, net, _ = adapted(behind(["block2.0"]), of_images())
    assert [path for path, part in net.net.named_modules() if isinstance(part, Bottleneck)] == ["block2.0.bottleneck"]
    _, net, _ = adapted(behind(["*"], [0]), of_vectors())
    assert [path for path, part in net.net.named_modules() if isinstance(part, Bottleneck)] == ["layer1.0.bottleneck"]


def test_wrong_settings_are_refused():
    with pytest.raises(InputError, match="width=0: at least 1"):
        behind(width=0)
    with pytest.raises(InputError, match="matches none of the layers"):
        adapted(behind(["*.output.dense"]), of_images())
