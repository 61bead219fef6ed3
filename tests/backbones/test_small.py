import json

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris
from torch.nn import functional as F

from transferlab import cli
from transferlab.backbones.checking import check_chain
from transferlab.backbones.small import convnet, embeddings, mlp
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.inputs.ids import IdsInput
from transferlab.inputs.series import SeriesInput


def test_convnet_names_its_blocks_and_gives_the_last_width():
    backbone = convnet(ArrayInput.of(2, 16, 16), [4, 6, 8])
    assert backbone.stages == ("block1", "block2", "block3", "pool")
    assert backbone.parametric == ("block1", "block2", "block3")
    assert backbone(torch.randn(5, 2, 16, 16)).shape == (5, backbone.features) == (5, 8)


def test_convnet_computes_convolution_batchnorm_relu_pooling_and_the_mean():
    torch.manual_seed(0)
    backbone = convnet(ArrayInput.of(2, 9, 12), [4, 6]).eval()
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
        convnet(ArrayInput.of(1, *size), [4, 4, 4])


def test_convnet_takes_the_smallest_image_that_every_block_can_halve():
    assert convnet(ArrayInput.of(1, 8, 8), [4, 4, 4]).eval()(torch.randn(2, 1, 8, 8)).shape == (2, 4)


@pytest.mark.parametrize("shape", [[64], [8, 8], [1, 1, 8, 8]])
def test_convnet_refuses_what_is_no_image(shape):
    with pytest.raises(InputError, match=r"backbone\.input\.shape"):
        convnet(ArrayInput.of(*shape), [4])


@pytest.mark.parametrize("shape", [[6], [1, 2, 3]])
def test_mlp_computes_linear_and_relu_on_flattened_inputs(shape):
    torch.manual_seed(0)
    backbone = mlp(ArrayInput.of(*shape), [5, 4])
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
        (convnet(ArrayInput.of(1, 8, 8), [3, 4]), torch.randn(3, 1, 8, 8)),
        (mlp(ArrayInput.of(1, 8, 8), [3, 4, 5]), torch.randn(3, 1, 8, 8)),
    ],
    ids=["convnet", "mlp"],
)
def test_entering_at_every_boundary_gives_the_full_pass(backbone, x):
    backbone.eval()
    for stage in backbone.stages:
        torch.testing.assert_close(backbone(backbone(x, stop=stage), start=stage), backbone(x), rtol=0, atol=0)


def test_an_mlp_without_hidden_layers_hands_on_its_inputs_and_has_nothing_to_train():
    backbone = mlp(ArrayInput.of(4), [])
    x = torch.randn(3, 4)
    assert torch.equal(backbone(x), x)
    assert (backbone.stages, backbone.parametric, backbone.features) == (("inputs",), (), 4)


@pytest.mark.parametrize("strategy", ["l2_sp", "partial"])
def test_logistic_regression_on_a_table_trains_under_a_strategy(strategy, tmp_path):
    iris = load_iris()
    for name, first in (("source", 0), ("target", 1)):
        chosen = (iris.target == first) | (iris.target == first + 1)
        np.savez(tmp_path / f"{name}.npz", x_train=iris.data[chosen], y_train=iris.target[chosen] - first)
    net = ["backbone=mlp", "backbone.widths=[]", "input@backbone.input=table", "backbone.input.shape=[4]"]
    source = ["source=npz", f"source.pretrain.target.data.path={tmp_path}/source.npz", "source.pretrain.max_epochs=1"]
    target = ["target=npz", f"target.data.path={tmp_path}/target.npz", f"strategy={strategy}"]
    run = ["trainer.max_epochs=2", "trainer.accelerator=cpu", "tracker=none", f"paths.runs={tmp_path}"]
    assert cli.main(["train", *net, *source, *target, *run]) == 0
    records = [json.loads(file.read_text()) for file in tmp_path.glob("default/*/run.json")]
    (record,) = [record for record in records if record["axes"]["strategy"] == strategy]
    assert record["status"] == "finished"
    assert record["cost"]["trainable_parameters"] >= 4 * 2 + 2


def test_embeddings_are_the_rows_of_a_user_and_of_an_item_side_by_side():
    backbone = embeddings(IdsInput(5, 7), 3)
    ids = torch.tensor([[4, 0], [0, 6], [2, 2]])
    tables = backbone.net.state_dict()
    expected = torch.cat([tables["users.weight"][[4, 0, 2]], tables["items.weight"][[0, 6, 2]]], 1)
    assert torch.equal(backbone(ids), expected)
    assert backbone.stages == backbone.parametric == ("users", "items")
    assert backbone.features == 6
    check_chain(backbone, lambda x: torch.cat([backbone.net.users(x[:, 0]), backbone.net.items(x[:, 1])], 1), ids)


def test_users_can_be_frozen_while_items_train():
    backbone = embeddings(IdsInput(5, 7), 3)
    backbone.set_trainable(["items"])
    backbone(IdsInput(5, 7).example(4)).sum().backward()
    assert backbone.net.users.weight.grad is None
    assert backbone.net.items.weight.grad.abs().sum() > 0


def test_the_dot_product_of_two_new_embeddings_has_a_deviation_of_one_by_the_root_of_their_length():
    torch.manual_seed(0)
    backbone = embeddings(IdsInput(2000, 2000), 25)
    user, item = backbone(IdsInput(2000, 2000).example(2000)).detach().chunk(2, 1)
    assert (user * item).sum(1).std().item() == pytest.approx(1 / 5, rel=0.1)


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: convnet(SeriesInput(1, None, "crop", "none"), [4]), "'convnet' takes images or tables.*gives series"),
        (lambda: mlp(IdsInput(2, 2), [4]), "'mlp' takes images or tables, its input gives pairs of a user and an item"),
        (lambda: embeddings(ArrayInput.of(4), 3), "embeddings takes pairs of ids, its input gives tables"),
        (lambda: embeddings(IdsInput(2, 2), 0), "backbone.dimensions=0: at least 1"),
        (lambda: IdsInput(0, 2), "backbone.input.users=0: a table has at least 1 row"),
        (lambda: IdsInput(2, -1), "backbone.input.items=-1: a table has at least 1 row"),
        (lambda: mlp(ArrayInput.of(4), [3, 0]), r"backbone.widths=\[3, 0\]"),
    ],
)
def test_an_input_of_another_kind_or_size_is_refused_in_a_sentence(build, sentence):
    with pytest.raises(InputError, match=sentence):
        build()
