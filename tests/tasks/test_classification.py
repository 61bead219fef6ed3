from math import exp, log

import pytest
import torch
from torch import nn

from transferlab.tasks.classification import Classification

# 6 samples of 3 classes: class 0 has 1 of 1 right, class 1 has 1 of 2, class 2 has 1 of 3
OUTPUTS = torch.tensor(
    [[5.0, 1.0, 0.0], [0.0, 2.0, 1.0], [3.0, 2.0, 1.0], [0.0, 1.0, 4.0], [1.0, 0.5, 0.2], [0.0, 9.0, 1.0]]
)
Y = torch.tensor([0, 1, 1, 2, 2, 2])


@pytest.fixture
def task():
    return Classification(nn.Linear)


def test_the_loss_is_the_mean_negative_log_probability_of_the_label(task):
    total = 0.0
    for row, label in zip(OUTPUTS.tolist(), Y.tolist(), strict=True):
        total -= log(exp(row[label]) / sum(exp(value) for value in row))
    assert task.loss(OUTPUTS.double(), Y).item() == pytest.approx(total / len(Y), rel=1e-12)


def test_the_gradient_of_the_loss_is_probability_minus_label(task):
    outputs = OUTPUTS.double().requires_grad_()
    task.loss(outputs, Y).backward()
    expected = (outputs.detach().softmax(1) - nn.functional.one_hot(Y, 3)) / len(Y)
    torch.testing.assert_close(outputs.grad, expected)


def test_accuracy_counts_samples_and_class_accuracy_is_the_mean_of_the_classes(task):
    metrics = task.metrics(3)
    metrics.update(OUTPUTS, Y)
    scores = {name: value.item() for name, value in metrics.compute().items()}
    assert scores == pytest.approx({"accuracy": 3 / 6, "class_accuracy": (1 + 1 / 2 + 1 / 3) / 3})


def test_metrics_over_batches_are_those_of_all_samples_at_once(task):
    whole, parts = task.metrics(3), task.metrics(3)
    whole.update(OUTPUTS, Y)
    for part in (slice(0, 1), slice(1, 5), slice(5, 6)):
        parts.update(OUTPUTS[part], Y[part])
    assert parts.compute() == whole.compute()


def test_each_call_gives_new_metrics(task):
    first, second = task.metrics(3), task.metrics(3)
    first.update(OUTPUTS, Y)
    second.update(OUTPUTS[:1], Y[:1])
    assert second.compute()["accuracy"] == 1


def test_the_head_is_built_from_features_and_classes():
    head = Classification(lambda features, classes: nn.Sequential(nn.Linear(features, 7), nn.Linear(7, classes)))
    assert head.build_head(5, 3)(torch.randn(2, 5)).shape == (2, 3)
    assert len(head.build_head(5, 3)) == 2


def test_each_head_is_new(task):
    assert task.build_head(5, 3).weight is not task.build_head(5, 3).weight
