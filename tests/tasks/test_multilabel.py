from math import isnan

import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score
from torch import nn
from torch.nn import functional as F

from transferlab.errors import InputError
from transferlab.tasks.base import counted
from transferlab.tasks.multilabel import MultiLabel

NAN = float("nan")
GENERATOR = torch.Generator().manual_seed(0)
OUTPUTS = torch.randn(30, 3, generator=GENERATOR)
WHOLE = (torch.rand(30, 3, generator=GENERATOR) < 0.4).float()
MISSING = torch.rand(30, 3, generator=GENERATOR) < 0.3
Y = WHOLE.masked_fill(MISSING, NAN)


@pytest.fixture
def task():
    return MultiLabel(nn.Linear, "auroc", None)


def scores(task, outputs, y):
    metrics = task.metrics(y.shape[1])
    for part in (slice(0, 11), slice(11, None)):
        metrics.update(*task.scored(outputs[part], y[part]))
    return {name: float(value) for name, value in metrics.compute().items()}


def test_without_missing_labels_the_loss_is_torchs(task):
    torch.testing.assert_close(task.loss(OUTPUTS, WHOLE), F.binary_cross_entropy_with_logits(OUTPUTS, WHOLE))


def test_a_missing_label_enters_neither_loss_nor_gradient(task):
    outputs = OUTPUTS.clone().requires_grad_()
    loss = task.loss(outputs, Y)
    torch.testing.assert_close(loss, F.binary_cross_entropy_with_logits(OUTPUTS[~MISSING], WHOLE[~MISSING]))
    loss.backward()
    assert outputs.grad[MISSING].eq(0).all() and outputs.grad[~MISSING].ne(0).all()


def test_a_batch_without_a_known_label_has_no_loss_and_no_gradient(task):
    outputs = OUTPUTS.clone().requires_grad_()
    loss = task.loss(outputs, torch.full_like(Y, NAN))
    loss.backward()
    assert loss == 0 and outputs.grad.eq(0).all()


def test_batches_weighed_by_their_known_labels_give_the_loss_of_the_whole(task):
    parts = [(task.loss(OUTPUTS[part], Y[part]), counted(task, Y[part])) for part in (slice(0, 5), slice(5, None))]
    mean = sum(loss * weight for loss, weight in parts) / sum(weight for _, weight in parts)
    torch.testing.assert_close(mean, task.loss(OUTPUTS, Y))


def test_balanced_positives_weigh_as_much_as_the_known_negatives_of_their_output():
    task = MultiLabel(nn.Linear, "auroc", "balanced")
    task.fit(Y, 3)
    outputs = torch.zeros(30, 3, requires_grad=True)
    task.loss(outputs, Y).backward()
    torch.testing.assert_close(outputs.grad.sum(0), torch.zeros(3))


def test_metrics_are_sklearns_over_the_known_labels(task):
    p = OUTPUTS.sigmoid()

    def mean(score, values):
        known = [~MISSING[:, output] for output in range(3)]
        return sum(score(Y[k, output], values[k, output]) for output, k in enumerate(known)) / 3

    right = ((p > 0.5) == (WHOLE == 1)) | MISSING
    assert scores(task, OUTPUTS, Y) == pytest.approx(
        {
            "auroc": mean(roc_auc_score, p),
            "f1": mean(f1_score, (p > 0.5).float()),
            "map": mean(average_precision_score, p),
            "subset_accuracy": float(right.all(1).float().mean()),
        }
    )


def test_an_output_without_a_positive_is_left_out_of_the_mean_area(task):
    y = Y.clone()
    y[:, 1] = y[:, 1].masked_fill(~MISSING[:, 1], 0)
    area = scores(task, OUTPUTS, y)["auroc"]
    known = [~MISSING[:, output] for output in range(3)]
    expected = sum(roc_auc_score(Y[known[o], o], OUTPUTS[known[o], o]) for o in (0, 2)) / 2
    assert area == pytest.approx(expected)
    assert isnan(scores(task, OUTPUTS, torch.zeros(30, 3))["auroc"])


def test_there_is_no_one_class_a_sample(task):
    assert task.probabilities(OUTPUTS) is None


@pytest.mark.parametrize(
    ("y", "outputs", "said"),
    [
        (torch.tensor([0, 1]), 2, "choose task=classification"),
        (torch.zeros(4, 2), 3, "each of the 3 outputs"),
        (torch.tensor([[0.0, 1.0], [2.0, NAN]]), 2, "label 0 of training sample 1 is 2"),
    ],
)
def test_labels_that_are_not_columns_of_0_and_1_are_refused(task, y, outputs, said):
    with pytest.raises(InputError, match=said):
        task.fit(y, outputs)
