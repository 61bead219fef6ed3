from dataclasses import replace
from functools import partial
from math import exp, isnan, log, sqrt

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from passed import drawn, predicting, reordered, spoilt, without
from scipy.stats import entropy as scipy_entropy
from sklearn.metrics import accuracy_score, log_loss

from transferlab.errors import InputError
from transferlab.selection.predictions import bnm, entropy, infomax, source_val
from transferlab.selection.seen import Passed

CASES = settings(max_examples=20, deadline=None)
SIZES = (st.integers(1, 12), st.integers(2, 6), st.integers(0, 99))
OF_TARGET = [entropy, infomax, bnm]
RULES = [*OF_TARGET, partial(source_val, measure="accuracy"), partial(source_val, measure="loss")]


def softmax(logits):
    """A sample after another, in Python's floats."""
    rows = []
    for row in logits.tolist():
        powers = [exp(z - max(row)) for z in row]
        rows.append([power / sum(powers) for power in powers])
    return rows


def with_target(logits):
    return replace(drawn(), target=Passed(torch.zeros(len(logits), 2), logits))


@CASES
@given(*SIZES)
def test_entropy_is_its_sum(samples, classes, seed):
    seen = drawn(samples, classes=classes, seed=seed)
    expected = 0.0
    for row in softmax(seen.target.logits):
        for p in row:
            expected += p * log(p) / samples
    assert entropy(seen) == pytest.approx(expected, abs=1e-12)


@CASES
@given(*SIZES)
def test_infomax_is_scipys_entropies(samples, classes, seed):
    seen = drawn(samples, classes=classes, seed=seed)
    p = np.array(softmax(seen.target.logits))
    expected = scipy_entropy(p.mean(0)) - np.mean([scipy_entropy(row) for row in p])
    assert infomax(seen) == pytest.approx(expected, abs=1e-12)


@CASES
@given(*SIZES)
def test_bnm_is_the_sum_of_singular_values_over_its_bound(samples, classes, seed):
    seen = drawn(samples, classes=classes, seed=seed)
    p = np.array(softmax(seen.target.logits))
    eigenvalues = np.linalg.eigvalsh(p.T @ p).clip(0)
    expected = sum(sqrt(value) for value in eigenvalues) / sqrt(samples * min(samples, classes))
    assert bnm(seen) == pytest.approx(expected, abs=1e-6)


@CASES
@given(*SIZES)
def test_source_validation_is_scikit_learns(samples, classes, seed):
    seen = drawn(samples, classes=classes, seed=seed)
    y, logits = seen.source_val.y.numpy(), seen.source_val.logits
    assert source_val(seen, measure="accuracy") == pytest.approx(accuracy_score(y, logits.argmax(1)))
    loss = log_loss(y, np.array(softmax(logits)), labels=range(classes))
    assert source_val(seen, measure="loss") == pytest.approx(-loss)


@CASES
@given(*SIZES)
def test_all_lie_within_their_bounds(samples, classes, seed):
    seen = drawn(samples, classes=classes, seed=seed)
    assert -log(classes) - 1e-12 <= entropy(seen) <= 0
    assert -1e-12 <= infomax(seen) <= log(classes) + 1e-12
    assert 0 < bnm(seen) <= 1 + 1e-12
    assert 0 <= source_val(seen, measure="accuracy") <= 1 and source_val(seen, measure="loss") <= 0


@pytest.mark.parametrize("classes", [2, 5])
def test_sure_and_balanced_predictions_score_highest(classes):
    seen = predicting(list(range(classes)) * 4, classes=classes)
    assert entropy(seen) == 0
    assert infomax(seen) == pytest.approx(log(classes))
    assert bnm(seen) == pytest.approx(1)


@pytest.mark.parametrize("classes", [2, 5])
def test_one_class_alone_deceives_entropy_and_not_the_others(classes):
    seen = predicting([1] * 20, classes=classes)
    assert entropy(seen) == 0
    assert infomax(seen) == 0
    assert bnm(seen) == pytest.approx(1 / sqrt(classes))


def test_predictions_that_know_nothing_score_lowest():
    seen = with_target(torch.zeros(8, 4))
    assert entropy(seen) == pytest.approx(-log(4))
    assert infomax(seen) == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("rule", RULES)
def test_the_order_of_the_samples_does_not_matter(rule):
    seen = drawn(25)
    assert rule(reordered(seen, 1)) == pytest.approx(rule(seen), abs=1e-12)


@pytest.mark.parametrize("rule", RULES)
def test_a_constant_added_to_all_logits_of_a_sample_does_not_matter(rule):
    seen = drawn(25)
    moved = replace(
        seen,
        source_val=replace(seen.source_val, logits=seen.source_val.logits.double() + 7),
        target=replace(seen.target, logits=seen.target.logits.double() - 7),
    )
    assert rule(moved) == pytest.approx(rule(seen), abs=1e-12)


@pytest.mark.parametrize("rule", RULES)
def test_one_sample_has_a_score(rule):
    assert not isnan(rule(drawn(1)))


@pytest.mark.parametrize("rule", RULES)
def test_a_logit_that_is_no_number_makes_the_score_nan(rule):
    part = "target" if rule in OF_TARGET else "source_val"
    assert isnan(rule(spoilt(drawn(), part, "logits")))


def test_a_logit_that_is_infinite_makes_the_score_nan():
    logits = torch.zeros(3, 2)
    logits[0, 0] = torch.inf
    for rule in OF_TARGET:
        assert isnan(rule(with_target(logits))) and isnan(rule(with_target(-logits)))


@pytest.mark.parametrize("rule", RULES)
def test_without_samples_there_is_an_error(rule):
    part = "target" if rule in OF_TARGET else "source_val"
    with pytest.raises(InputError, match="and there are none"):
        rule(without(drawn(), part))


def test_rules_of_the_target_read_nothing_else():
    seen = without(without(drawn(), "source_val"), "source_train")
    assert all(isinstance(rule(seen), float) for rule in OF_TARGET)


def test_another_measure_is_refused():
    with pytest.raises(InputError, match=r"no selection\.score\.measure 'error'"):
        source_val(drawn(), measure="error")
