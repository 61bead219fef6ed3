import pytest
import torch
from torch.nn import functional as F

from transferlab.backbones.autoencoder import autoencoder
from transferlab.backbones.checking import check_chain
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.inputs.series import SeriesInput


def convolutions(state, x, blocks):
    for block in blocks:
        mean, variance = state[f"{block}.1.running_mean"], state[f"{block}.1.running_var"]
        x = F.conv2d(x, state[f"{block}.0.weight"], stride=2, padding=1)
        x = F.relu(F.batch_norm(x, mean, variance, state[f"{block}.1.weight"], state[f"{block}.1.bias"]))
    return F.linear(x.flatten(1), state["code.weight"], state["code.bias"])


@pytest.mark.parametrize("size", [(8, 8), (9, 13), (2, 3)])
def test_an_image_passes_strided_convolutions_and_becomes_a_code(size):
    torch.manual_seed(0)
    backbone = autoencoder(ArrayInput.of(3, *size), [4, 6], 5)
    check_chain(
        backbone, lambda x: convolutions(backbone.net.state_dict(), x, ("block1", "block2")), torch.randn(3, 3, *size)
    )
    assert backbone.stages == backbone.parametric == ("block1", "block2", "code")
    assert backbone.eval()(torch.randn(2, 3, *size)).shape == (2, backbone.features) == (2, 5)


def dense(state, x, layers):
    for layer in layers:
        x = F.relu(F.linear(x, state[f"{layer}.0.weight"], state[f"{layer}.0.bias"]))
    return F.linear(x, state["code.weight"], state["code.bias"])


@pytest.mark.parametrize("widths", [[], [7], [16, 16]])
def test_a_tables_row_passes_linear_layers_and_becomes_a_code(widths):
    torch.manual_seed(0)
    backbone = autoencoder(ArrayInput.of(9), widths, 2)
    names = [f"layer{number}" for number in range(1, len(widths) + 1)]
    check_chain(backbone, lambda x: dense(backbone.net.state_dict(), x, names), torch.randn(4, 9))
    assert backbone.stages == (*names, "code")


def test_without_its_code_an_images_encoder_gives_maps():
    backbone = autoencoder(ArrayInput.of(1, 8, 8), [4, 6], 5)
    backbone.cut()
    assert backbone.maps(backbone(torch.randn(2, 1, 8, 8))).shape == (2, 6, 2, 2)
    assert "code.weight" not in backbone.net.state_dict()


@pytest.mark.parametrize(
    ("given", "widths", "code", "sentence"),
    [
        (ArrayInput.of(1, 8, 8), [], 5, r"backbone.widths=\[\]"),
        (ArrayInput.of(9), [0], 5, r"backbone.widths=\[0\]"),
        (ArrayInput.of(9), [4], 0, "backbone.code=0: at least 1"),
        (SeriesInput(1, None, "crop", "none"), [4], 5, "'autoencoder' takes images or tables, its input gives series"),
    ],
)
def test_what_makes_no_encoder_is_refused_in_a_sentence(given, widths, code, sentence):
    with pytest.raises(InputError, match=sentence):
        autoencoder(given, widths, code)
