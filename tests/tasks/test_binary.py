import pytest
import torch
from sklearn.metrics import f1_score, roc_auc_score
from torch import nn
from torch.nn import functional as F

from transferlab.backbones.small import mlp
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.tasks.binary import Binary

Y = torch.tensor([0, 1, 0, 1, 0, 0])
OUTPUTS = torch.tensor([[-2.0], [0.5], [0.3], [1.5], [-0.1], [0.5]])


@pytest.fixture
def task():
    return Binary(nn.Linear, "accuracy", None, 0.0)


def test_the_head_has_one_output(task):
    head = task.build_head(mlp(ArrayInput.of(4), [5]), 2, torch.ones(2, 4))
    assert head(torch.randn(3, 5)).shape == (3, 1)


def test_the_loss_is_the_cross_entropy_of_both_probabilities(task):
    expected = F.nll_loss(task.probabilities(OUTPUTS).log(), Y)
    torch.testing.assert_close(task.loss(OUTPUTS, Y), expected)


def test_probabilities_are_those_of_a_softmax_over_0_and_the_logit(task):
    expected = torch.cat([torch.zeros(6, 1), OUTPUTS], 1).softmax(1)
    torch.testing.assert_close(task.probabilities(OUTPUTS), expected)


@pytest.mark.parametrize(("given", "weight"), [("balanced", 4 / 2), (3.0, 3.0)])
def test_a_positive_counts_as_much_as_is_asked(given, weight):
    task = Binary(nn.Linear, "accuracy", given, 0.0)
    task.fit(Y, 2)
    p = OUTPUTS[:, 0].sigmoid()
    expected = -(weight * Y * p.log() + (1 - Y) * (1 - p).log()).mean()
    torch.testing.assert_close(task.loss(OUTPUTS, Y), expected)


def test_a_mixture_of_two_labels_costs_the_mixture_of_their_losses(task):
    mixed = torch.tensor([[0.4, 0.6]]).expand(6, 2)
    expected = 0.4 * task.loss(OUTPUTS, 0 * Y) + 0.6 * task.loss(OUTPUTS, 0 * Y + 1)
    torch.testing.assert_close(task.loss(OUTPUTS, mixed), expected)


def test_metrics_are_sklearns(task):
    metrics = task.metrics(2)
    for part in (slice(0, 2), slice(2, 6)):  # one part has logits that look like probabilities
        metrics.update(*task.scored(OUTPUTS[part], Y[part]))
    predicted = (OUTPUTS[:, 0] > 0).long()
    assert {name: float(value) for name, value in metrics.compute().items()} == pytest.approx(
        {
            "accuracy": float((predicted == Y).float().mean()),
            "f1": f1_score(Y, predicted),
            "auroc": roc_auc_score(Y, OUTPUTS[:, 0]),
        }
    )


@pytest.mark.parametrize(
    ("y", "outputs", "weight", "said"),
    [
        (Y, 3, None, "two classes apart, the data have 3"),
        (Y.float(), 2, None, "one class a sample"),
        (Y, 2, "balancd", "task.pos_weight=balancd"),
        (Y, 2, -1.0, "task.pos_weight=-1.0"),
    ],
)
def test_labels_or_weights_that_do_not_fit_are_refused(y, outputs, weight, said):
    with pytest.raises(InputError, match=said):
        Binary(nn.Linear, "accuracy", weight, 0.0).fit(y, outputs)
