"""Biases alone, norms alone."""

import pytest
import torch
from adapted import adapted, of_images, of_vectors
from torch import nn

from transferlab.adapters.chosen import BitFit, NormTuning, is_norm
from transferlab.backbones.base import Backbone
from transferlab.backbones.stages import Stage
from transferlab.errors import InputError


class _Block(nn.Module):
    """A bit of everything."""

    def __init__(self):
        super().__init__()
        self.convolution, self.norm = nn.Conv1d(3, 4, 1), nn.BatchNorm1d(4)
        self.attention, self.layer_norm = nn.MultiheadAttention(4, 2, batch_first=True), nn.LayerNorm(4)

    def forward(self, x):
        h = self.norm(self.convolution(x)).mT
        return self.layer_norm(self.attention(h, h, h)[0]).mean(1)


def mixed():
    return Backbone(nn.Sequential(_Block()), [Stage("all", ["0"])], 4, "mixed"), torch.randn(5, 3, 6)


def trained(adapter, made):
    _, net, _ = adapted(adapter, made)
    net.set_trainable(net.parametric)
    return {name for name, p in net.net.named_parameters() if p.requires_grad}


def test_biases_are_those_of_layers_projections_and_norms():
    assert trained(BitFit(None, "alone"), mixed()) == {
        *("0.convolution.bias", "0.norm.bias", "0.attention.in_proj_bias", "0.attention.out_proj.bias"),
        "0.layer_norm.bias",
    }


def test_a_table_of_positions_is_no_bias():
    from torchvision.models.swin_transformer import ShiftedWindowAttention

    net = nn.Sequential(ShiftedWindowAttention(4, [2, 2], [0, 0], 2))
    names = trained(
        BitFit(None, "alone"), (Backbone(net, [Stage("all", ["0"])], 4, "windows"), torch.randn(1, 4, 4, 4))
    )
    assert names == {"0.qkv.bias", "0.proj.bias"}


def test_norms_have_scales_and_shifts():
    names = ("norm.weight", "norm.bias", "layer_norm.weight", "layer_norm.bias")
    assert trained(NormTuning(None, "alone"), mixed()) == {f"0.{name}" for name in names}


def test_norms_of_other_libraries_are_known_by_their_names():
    from transformers.models.t5.modeling_t5 import T5LayerNorm

    assert is_norm(T5LayerNorm(3)) and is_norm(nn.GroupNorm(1, 3)) and not is_norm(nn.Linear(3, 3))


def test_stages_can_be_chosen():
    assert trained(BitFit([-1], "alone"), of_images()) == {"block2.1.bias"}
    assert trained(NormTuning(["block1"], "alone"), of_images()) == {"block1.1.weight", "block1.1.bias"}


def test_statistics_follow_in_the_chosen_stages_alone():
    _, net, x = adapted(NormTuning([-1], "alone"), of_images())
    net.set_trainable(net.parametric)
    before = {key: value.clone() for key, value in net.net.state_dict().items()}
    net.train()(x)
    moved = {key for key, value in net.net.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == {f"block2.1.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")}


def test_a_net_without_them_is_refused():
    with pytest.raises(InputError, match="'mlp' has no norms with parameters in the stages layer1, layer2"):
        adapted(NormTuning(None, "alone"), of_vectors())
    net = Backbone(nn.Sequential(nn.Linear(2, 2, bias=False)), [Stage("all", ["0"])], 2, "bare"), torch.randn(2, 2)
    with pytest.raises(InputError, match="'bare' has no biases in the stages all"):
        adapted(BitFit(None, "alone"), net)
