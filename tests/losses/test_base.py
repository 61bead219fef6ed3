from functools import partial

import pytest
import torch
from torch import nn

from transferlab.backbones.small import mlp
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.losses.base import Observation, Step, TransferLoss
from transferlab.losses.weight import decay
from transferlab.tasks.classification import Classification


class Zero(TransferLoss):
    def forward(self, step):
        return torch.zeros(())


def step(*domains):
    backbone, head = mlp(ArrayInput.of(2), [3]), nn.Linear(3, 2)
    x = torch.zeros(1, 2)
    observed = {domain: Observation(x, torch.zeros(1), {}, backbone(x), head(backbone(x))) for domain in domains}
    return Step(backbone, head, Classification(nn.Linear, "accuracy", None, 0.0, 0.0, "cross_entropy"), observed)


def test_a_domain_that_was_loaded_is_found():
    present = step("target", "source")
    assert present.domain("source", "some_loss") is present.observed["source"]


def test_a_domain_that_was_not_loaded_raises_and_names_the_reader():
    with pytest.raises(InputError, match="loss 'some_loss' reads the domain 'unlabeled'"):
        step("target", "source").domain("unlabeled", "some_loss")


def test_a_number_is_a_constant_weight():
    loss = Zero(0.3)
    assert [loss.weight_at(progress) for progress in (0.0, 0.5, 0.99)] == [0.3] * 3


def test_a_weight_may_follow_progress():
    loss = Zero(partial(decay, high=2.0))
    assert [loss.weight_at(progress) for progress in (0.0, 0.25, 0.5)] == [2.0, 1.5, 1.0]


def test_by_itself_a_loss_reads_the_target_and_no_activation_and_leaves_weight_decay():
    loss = Zero(1.0)
    assert loss.reads == {"target"}
    assert loss.activations == ()
    assert not loss.replaces_weight_decay


def test_a_loss_without_a_formula_cannot_be_built():
    class Nothing(TransferLoss):
        pass

    with pytest.raises(TypeError, match="forward"):
        Nothing(1.0)
