from functools import partial

import pytest
import torch

from transferlab.backbones.small import convnet, mlp
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.tasks.heads import decoder
from transferlab.tasks.reconstruction import Reconstruction
from transferlab.values import Seq


@pytest.fixture
def task():
    return Reconstruction(partial(decoder, widths=[8, 4]), "mean_squared_error")


@pytest.mark.parametrize(
    ("net", "shape"),
    [(convnet, (1, 8, 8)), (convnet, (3, 9, 12)), (convnet, (1, 96, 80)), (mlp, (1, 8, 8)), (mlp, (7,))],
)
def test_the_decoder_gives_what_the_backbone_takes(task, net, shape):
    input = ArrayInput.of(*shape)
    backbone, example = net(input, [4, 8]), input.example(2)
    assert task.build_head(backbone, 10, example)(backbone(example)).shape == example.shape


def test_loss_and_metric_are_the_mean_squared_error_over_all_numbers(task):
    outputs, x = torch.randn(5, 1, 4, 4), torch.randn(5, 1, 4, 4)
    metrics = task.metrics(10)
    for part in (slice(0, 2), slice(2, 5)):
        metrics.update(*task.scored(outputs[part], x[part]))
    expected = (outputs - x).square().mean()
    torch.testing.assert_close(task.loss(outputs, x), expected)
    torch.testing.assert_close(metrics.compute()["mean_squared_error"], expected)


@pytest.mark.parametrize("example", [Seq(torch.zeros(2, 3), torch.ones(2, 3) > 0), torch.zeros(2, 2, dtype=torch.long)])
def test_sequences_and_ids_are_refused(task, example):
    with pytest.raises(InputError, match="images and tables"):
        task.build_head(mlp(ArrayInput.of(4), [5]), 10, example)
