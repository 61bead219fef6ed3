import torch
from torch import nn

from transferlab.tasks.classification import Classification
from transferlab.tasks.labels import class_weights, fitted, positive_weights
from transferlab.tasks.reconstruction import Reconstruction

Y = torch.tensor([0, 0, 0, 1, 2, 2])


def test_the_task_given_stays_as_it_is():
    task = Classification(nn.Linear, "accuracy", "balanced", 0.0)
    outputs = torch.randn(6, 3)
    before = task.loss(outputs, Y)
    seeing = fitted(task, Y, 3)
    assert task.loss(outputs, Y) == before
    assert seeing.loss(outputs, Y) != before


def test_a_task_that_learns_nothing_of_labels_is_taken_as_it_is():
    task = Reconstruction(nn.Linear, "mean_squared_error")
    assert fitted(task, Y, 3).metric == task.metric


def test_balanced_weights_are_sklearns():
    from sklearn.utils.class_weight import compute_class_weight

    expected = compute_class_weight("balanced", classes=Y.unique().numpy(), y=Y.numpy())
    torch.testing.assert_close(class_weights(Y, 3, "balanced"), torch.tensor(expected).float())


def test_the_mean_weight_of_the_training_samples_is_1():
    torch.testing.assert_close(class_weights(Y, 3, [1.0, 2.0, 30.0])[Y].mean(), torch.tensor(1.0))


def test_positives_are_weighed_by_negatives_per_positive_over_known_labels():
    nan = float("nan")
    y = torch.tensor([[1, 1, 0], [0, nan, 0], [0, 0, nan], [0, 0, 0]])
    assert positive_weights(y, "balanced").tolist() == [3, 2, 1]
    assert positive_weights(y, 2.5).tolist() == [2.5] * 3
    assert positive_weights(y, None) is None
