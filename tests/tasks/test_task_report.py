import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from sklearn.metrics import f1_score, recall_score
from torch import nn
from torchmetrics.classification import MulticlassCalibrationError

from transferlab.tasks import report
from transferlab.tasks.binary import Binary
from transferlab.tasks.classification import Classification
from transferlab.tasks.multilabel import MultiLabel
from transferlab.tasks.reconstruction import Reconstruction
from transferlab.tasks.regression import Regression

GENERATOR = torch.Generator().manual_seed(0)
N, C = 60, 3
Y = torch.randint(C, (N,), generator=GENERATOR)
LOGITS = torch.randn(N, C, generator=GENERATOR) + 1.5 * nn.functional.one_hot(Y, C)
MISSING = torch.rand(N, C, generator=GENERATOR) < 0.3
LABELS = nn.functional.one_hot(Y, C).float().masked_fill(MISSING, float("nan"))
NUMBERS = torch.randn(N, C, generator=GENERATOR).masked_fill(MISSING, float("nan"))

CLASSIFICATION = Classification(nn.Linear, "accuracy", None, 0.0, 0.0, "cross_entropy")
CASES = {
    "classification": (CLASSIFICATION, LOGITS, Y, C),
    "binary": (Binary(nn.Linear, "accuracy", None, 0.0), LOGITS[:, :1], (Y == 0).long(), 2),
    "multilabel": (MultiLabel(nn.Linear, "auroc", None), LOGITS, LABELS, C),
    "regression": (Regression(nn.Linear, "r2", "squared"), LOGITS, NUMBERS, C),
    "reconstruction": (Reconstruction(nn.Linear, "mean_squared_error"), LOGITS, LOGITS + 1, C),
}


def reported(task, outputs, y, count):
    parts = [task.kept(outputs[part], y[part]) for part in (slice(0, 7), slice(7, None))]
    return task.report(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)), count)


@pytest.mark.parametrize("name", CASES)
def test_every_metric_of_a_task_has_an_interval_that_holds_it(name):
    task, outputs, y, count = CASES[name]
    metrics = task.metrics(count)
    metrics.update(*task.scored(outputs, y))
    intervals = reported(task, outputs, y, count)["intervals"]
    assert set(intervals) == set(metrics)
    for metric, value in metrics.compute().items():
        low, high = intervals[metric]
        assert low < float(value) < high, metric


def test_classes_have_sklearns_recall_and_f1_in_their_order():
    said = reported(*CASES["classification"])["classes"]
    predicted = LOGITS.argmax(1)
    assert said["samples"] == torch.bincount(Y, minlength=C).tolist()
    assert said["accuracy"] == pytest.approx(recall_score(Y, predicted, average=None).tolist())
    assert said["f1"] == pytest.approx(f1_score(Y, predicted, average=None).tolist())


def test_confusion_has_the_true_class_in_the_row_and_the_predicted_in_the_column():
    confusion = torch.tensor(reported(*CASES["classification"])["confusion"])
    expected = torch.zeros(C, C, dtype=torch.long)
    for truth, predicted in zip(Y.tolist(), LOGITS.argmax(1).tolist(), strict=True):
        expected[truth, predicted] += 1
    assert torch.equal(confusion, expected)


def test_a_class_without_test_samples_has_no_scores_and_many_classes_no_confusion():
    y = torch.tensor([0, 1, 1])
    said = CLASSIFICATION.report(torch.tensor([[0.0, 0.9], [1.0, 0.8], [0.0, 0.6]]), y, 101)
    assert np.isnan(said["classes"]["accuracy"][2])
    assert said["classes"]["accuracy"][:2] == [1.0, 0.5]
    assert said["confusion"] is None


def test_calibration_is_that_of_all_probabilities():
    expected = MulticlassCalibrationError(C, n_bins=15, norm="l1")(LOGITS.softmax(1), Y)
    assert reported(*CASES["classification"])["calibration_error"] == pytest.approx(float(expected), abs=1e-6)


def test_the_interval_of_accuracy_is_wilsons():
    right = int((LOGITS.argmax(1) == Y).sum())
    interval = binomtest(right, N).proportion_ci(method="wilson")
    assert reported(*CASES["classification"])["intervals"]["accuracy"] == pytest.approx([interval.low, interval.high])


def test_outputs_have_the_scores_of_their_known_labels():
    said = reported(*CASES["regression"])["outputs"]
    known = ~NUMBERS.isnan()
    assert said["samples"] == known.sum(0).tolist()
    for output in range(C):
        error = (LOGITS - NUMBERS)[known[:, output], output].abs().mean()
        assert said["mean_absolute_error"][output] == pytest.approx(float(error), rel=1e-6)


def test_what_is_kept_of_a_batch_of_images_is_a_number_a_sample():
    images = torch.rand(5, 1, 8, 8, generator=GENERATOR)
    kept, y = CASES["reconstruction"][0].kept(images, images + 2)
    assert kept.shape == y.shape == (5,)
    assert kept.tolist() == pytest.approx([4.0] * 5)


def test_what_is_kept_of_a_batch_of_many_classes_is_two_numbers_a_sample():
    kept, _ = CLASSIFICATION.kept(torch.randn(5, 1000, generator=GENERATOR), Y[:5])
    assert kept.shape == (5, 2)


@pytest.mark.parametrize("name", CASES)
def test_the_tasks_on_vectors_report(name):
    assert isinstance(CASES[name][0], report.Reporter)
