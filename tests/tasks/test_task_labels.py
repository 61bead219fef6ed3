import pytest
import torch
from torch import nn

from transferlab.errors import InputError
from transferlab.tasks.classification import Classification
from transferlab.tasks.labels import class_weights, effective_number, fitted, positive_weights
from transferlab.tasks.reconstruction import Reconstruction

Y = torch.tensor([0, 0, 0, 1, 2, 2])


def test_the_task_given_stays_as_it_is():
    task = Classification(nn.Linear, "accuracy", "balanced", 0.0, 0.0, "cross_entropy")
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


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9, 0.9999])
def test_the_effective_number_is_the_geometric_series_of_its_proof(beta):
    """Cui et al. 2019: each further sample adds beta to the power of those before."""
    expected = [sum(beta**before for before in range(n)) for n in (1, 2, 7, 300)]
    assert effective_number(torch.tensor([1, 2, 7, 300]), beta).tolist() == pytest.approx(expected, rel=1e-10)


def test_weights_by_effective_number_are_in_inverse_proportion_to_it():
    weights = class_weights(Y, 3, {"effective": 0.9})
    expected = [1 / (1 + 0.9 + 0.81), 1 / 1, 1 / (1 + 0.9)]
    assert (weights / weights[1]).tolist() == pytest.approx(expected)
    assert weights[Y].mean().item() == pytest.approx(1)


def test_effective_weights_go_from_all_alike_to_balanced():
    torch.testing.assert_close(class_weights(Y, 3, {"effective": 0.0}), torch.ones(3))
    torch.testing.assert_close(class_weights(Y, 3, {"effective": 1 - 1e-9}), class_weights(Y, 3, "balanced"))
    y = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    assert positive_weights(y, {"effective": 0.0}).tolist() == [1, 1]
    assert positive_weights(y, {"effective": 1 - 1e-9}).tolist() == pytest.approx([2, 1])
    assert positive_weights(y, {"effective": 0.5}).tolist() == pytest.approx([1.5, 1])


@pytest.mark.parametrize(
    "given", [{"effective": 1.0}, {"effective": -0.1}, {"efective": 0.9}, {"effective": "much"}, {}]
)
def test_a_beta_that_is_none_is_refused(given):
    with pytest.raises(InputError, match=r"task\.class_weights=.*beta in \[0, 1\)"):
        class_weights(Y, 3, given)
    with pytest.raises(InputError, match=r"task\.pos_weight="):
        positive_weights(Y[:, None], given)
