import pytest
import torch
from torch.nn import functional as F

from transferlab.backbones.small import convnet, mlp
from transferlab.errors import InputError


def test_convnet_names_its_blocks_and_gives_the_last_width():
    backbone = convnet({"shape": [2, 16, 16]}, [4, 6, 8])
    assert backbone.stages == ("block1", "block2", "block3", "pool")
    assert backbone.parametric == ("block1", "block2", "block3")
    assert backbone(torch.randn(5, 2, 16, 16)).shape == (5, backbone.features) == (5, 8)


def test_convnet_computes_convolution_batchnorm_relu_pooling_and_the_mean():
    torch.manual_seed(0)
    backbone = convnet({"shape": [2, 9, 12]}, [4, 6]).eval()
    state = backbone.net.state_dict()
    for key, value in state.items():
        if value.is_floating_point() and "running" in key:
            value.uniform_(0.5, 1.5)
    x = torch.randn(3, 2, 9, 12)
    expected = x
    for block in ("block1", "block2"):
        expected = F.conv2d(expected, state[f"{block}.0.weight"], padding=1)
        mean, variance = state[f"{block}.1.running_mean"], state[f"{block}.1.running_var"]
        expected = F.batch_norm(expected, mean, variance, state[f"{block}.1.weight"], state[f"{block}.1.bias"])
        expected = F.max_pool2d(F.relu(expected), 2)
    expected = expected.flatten(2).sum(2) / expected[0, 0].numel()
    torch.testing.assert_close(backbone(x), expected)


@pytest.mark.parametrize("size", [[7, 16], [16, 7], [1, 1]])
def test_convnet_refuses_images_too_small_to_be_halved_by_every_block(size):
    with pytest.raises(InputError, match="too small for 3 blocks"):
        convnet({"shape": [1, *size]}, [4, 4, 4])


def test_convnet_takes_the_smallest_image_that_every_block_can_halve():
    assert convnet({"shape": [1, 8, 8]}, [4, 4, 4]).eval()(torch.randn(2, 1, 8, 8)).shape == (2, 4)


@pytest.mark.parametrize("shape", [[64], [8, 8], [1, 1, 8, 8]])
def test_convnet_refuses_what_is_no_image(shape):
    with pytest.raises(InputError, match=r"backbone\.input\.shape"):
        convnet({"shape": shape}, [4])


@pytest.mark.parametrize("shape", [[6], [1, 2, 3]])
def test_mlp_computes_linear_and_relu_on_flattened_inputs(shape):
    torch.manual_seed(0)
    backbone = mlp({"shape": shape}, [5, 4])
    assert backbone.stages == backbone.parametric == ("layer1", "layer2")
    state = backbone.net.state_dict()
    x = torch.randn(3, *shape)
    expected = x.reshape(3, 6)
    for layer in ("layer1", "layer2"):
        expected = (expected @ state[f"{layer}.0.weight"].T + state[f"{layer}.0.bias"]).clamp(min=0)
    torch.testing.assert_close(backbone(x), expected)
    assert backbone.features == 4


@pytest.mark.parametrize(
    ("backbone", "x"),
    [
        (convnet({"shape": [1, 8, 8]}, [3, 4]), torch.randn(3, 1, 8, 8)),
        (mlp({"shape": [1, 8, 8]}, [3, 4, 5]), torch.randn(3, 1, 8, 8)),
    ],
    ids=["convnet", "mlp"],
)
def test_entering_at_every_boundary_gives_the_full_pass(backbone, x):
    backbone.eval()
    for stage in backbone.stages:
        torch.testing.assert_close(backbone(backbone(x, stop=stage), start=stage), backbone(x), rtol=0, atol=0)
