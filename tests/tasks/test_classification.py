from math import exp, log

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from transferlab.backbones.small import mlp
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.tasks.classification import Classification, squared_error

# 6 samples of 3 classes: class 0 has 1 of 1 right, class 1 has 1 of 2, class 2 has 1 of 3
OUTPUTS = torch.tensor(
    [[5.0, 1.0, 0.0], [0.0, 2.0, 1.0], [3.0, 2.0, 1.0], [0.0, 1.0, 4.0], [1.0, 0.5, 0.2], [0.0, 9.0, 1.0]]
)
Y = torch.tensor([0, 1, 1, 2, 2, 2])
BACKBONE, EXAMPLE = mlp(ArrayInput.of(4), [5]), torch.ones(2, 4)


@pytest.fixture
def task():
    return Classification(nn.Linear, "accuracy", None, 0.0, 0.0, "cross_entropy")


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


def test_accuracy_counts_samples_class_accuracy_and_f1_are_means_of_the_classes(task):
    metrics = task.metrics(3)
    metrics.update(OUTPUTS, Y)
    scores = {name: value.item() for name, value in metrics.compute().items()}
    assert scores == pytest.approx(
        # predicted are 0, 1, 0, 2, 0, 1: each class has an F1 of 2 / 4
        {"accuracy": 3 / 6, "class_accuracy": (1 + 1 / 2 + 1 / 3) / 3, "f1": 1 / 2}
    )


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
    def build(features, classes):
        return nn.Sequential(nn.Linear(features, 7), nn.Linear(7, classes))

    head = Classification(build, "accuracy", None, 0.0, 0.0, "cross_entropy").build_head(BACKBONE, 3, EXAMPLE)
    assert head(BACKBONE(EXAMPLE)).shape == (2, 3)
    assert len(head) == 2


def test_each_head_is_new(task):
    first, second = (task.build_head(BACKBONE, 3, EXAMPLE) for _ in range(2))
    assert first.weight is not second.weight


def test_probabilities_are_those_that_the_loss_is_about(task):
    found = task.probabilities(OUTPUTS)
    torch.testing.assert_close(found.sum(1), torch.ones(6))
    torch.testing.assert_close(-found[torch.arange(6), Y].log().mean(), task.loss(OUTPUTS, Y))


def test_outputs_are_scored_as_they_are(task):
    predicted, labels = task.scored(OUTPUTS, Y)
    assert predicted is OUTPUTS
    assert labels is Y


def test_epochs_are_chosen_by_one_of_its_own_metrics(task):
    assert task.metric in task.metrics(3)
    assert (task.dense, task.reconstructs) == (False, False)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [[1.0, 2.0, 5.0], "balanced"])
def test_over_the_whole_training_set_the_weighted_loss_is_torchs(weights, smoothing):
    task = Classification(nn.Linear, "accuracy", weights, smoothing, 0.0, "cross_entropy")
    task.fit(Y, 3)
    given = torch.tensor([6 / 1, 6 / 2, 6 / 3] if weights == "balanced" else weights)
    expected = nn.functional.cross_entropy(OUTPUTS, Y, given, reduction="sum", label_smoothing=smoothing)
    torch.testing.assert_close(task.loss(OUTPUTS, Y), expected / given[Y].sum())


def test_balanced_classes_pull_alike_on_a_net_that_knows_nothing():
    task = Classification(nn.Linear, "accuracy", "balanced", 0.0, 0.0, "cross_entropy")
    task.fit(Y, 3)
    outputs = torch.zeros(6, 3, requires_grad=True)
    task.loss(outputs, Y).backward()
    torch.testing.assert_close(outputs.grad.sum(0), torch.zeros(3))


def test_the_mean_of_batches_of_one_is_the_loss_of_all():
    task = Classification(nn.Linear, "accuracy", "balanced", 0.0, 0.0, "cross_entropy")
    task.fit(Y, 3)
    single = torch.stack([task.loss(row, label) for row, label in zip(OUTPUTS.split(1), Y.split(1), strict=True)])
    torch.testing.assert_close(single.mean(), task.loss(OUTPUTS, Y))


def test_a_mixture_of_two_labels_costs_the_mixture_of_their_losses(task):
    other = Y.flip(0)
    one_hot = [nn.functional.one_hot(y, 3).float() for y in (Y, other)]
    mixed = task.loss(OUTPUTS, 0.3 * one_hot[0] + 0.7 * one_hot[1])
    torch.testing.assert_close(mixed, 0.3 * task.loss(OUTPUTS, Y) + 0.7 * task.loss(OUTPUTS, other))


@pytest.mark.parametrize(
    ("y", "weights", "said"),
    [
        (Y.float(), None, "choose task=regression"),
        (nn.functional.one_hot(Y), None, r"shape \(6, 3\)"),
        (Y, "blanced", "task.class_weights=blanced"),
        (Y, [1.0, 2.0], "the data have 3 classes"),
        (Y, [1.0, 2.0, 0.0], "above 0"),
    ],
)
def test_labels_or_weights_that_do_not_fit_are_refused(y, weights, said):
    with pytest.raises(InputError, match=said):
        Classification(nn.Linear, "accuracy", weights, 0.0, 0.0, "cross_entropy").fit(y, 3)


def test_a_label_smoothing_that_is_no_share_is_refused():
    with pytest.raises(InputError, match=r"label_smoothing=1.5: a share"):
        Classification(nn.Linear, "accuracy", None, 1.5, 0.0, "cross_entropy")


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(2, 5), st.sampled_from([0.0, 0.2]), st.booleans(), st.integers(0, 99))
def test_the_squared_error_is_that_of_the_probabilities(samples, classes, smoothing, weighed, seed):
    generator = torch.Generator().manual_seed(seed)
    z = 3 * torch.randn(samples, classes, generator=generator, dtype=torch.float64)
    y = torch.randint(classes, (samples,), generator=generator)
    weights = [0.5 + number for number in range(classes)] if weighed else None
    task = Classification(nn.Linear, "accuracy", weights, smoothing, 0.0, "squared_error")
    task.fit(torch.arange(classes), classes)
    scale = sum(weights) / classes if weighed else 1  # over all training labels, one of each class, the mean is 1
    expected = 0.0
    for row, label in zip(z.tolist(), y.tolist(), strict=True):
        p = [exp(value) / sum(exp(one) for one in row) for value in row]
        q = [(1 - smoothing) * (c == label) + smoothing / classes for c in range(classes)]
        weight = sum(share * w for share, w in zip(q, weights, strict=True)) / scale if weighed else 1
        expected += weight * sum((a - b) ** 2 for a, b in zip(p, q, strict=True)) / classes / samples
    assert task.loss(z, y).item() == pytest.approx(expected, rel=1e-5)


def test_a_sure_and_right_answer_has_no_squared_error_and_gradients_are_right():
    z = 50 * nn.functional.one_hot(Y, 3).double()
    assert squared_error(z, nn.functional.one_hot(Y, 3).double(), None).max() < 1e-15
    q = torch.rand(4, 3, dtype=torch.float64).softmax(1)
    logits = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: squared_error(z, q, torch.tensor([1.0, 2.0, 3.0]).double()), logits)


def test_a_criterion_that_does_not_fit_is_refused():
    with pytest.raises(InputError, match="'cross_entropy' or 'squared_error'"):
        Classification(nn.Linear, "accuracy", None, 0.0, 0.0, "hinge")
    with pytest.raises(InputError, match=r"task.focal=2.0 is of task.criterion=cross_entropy"):
        Classification(nn.Linear, "accuracy", None, 0.0, 2.0, "squared_error")
