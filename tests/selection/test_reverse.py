from dataclasses import replace
from math import isnan

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from passed import drawn, reordered, spoilt, without
from scipy.optimize import minimize

from transferlab.errors import InputError
from transferlab.selection.reverse import reverse
from transferlab.selection.seen import Labelled, Passed, Seen


def aligned(right=1.0, shift=0.0, classes=3, per_class=20, seed=0):
    """Both domains in clusters of width 0.1, the target's moved by `shift`; so many of its predictions are right."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(classes).repeat(per_class)
    corners, sure = 5 * torch.eye(classes), 1000.0 * torch.eye(classes)
    source = Labelled(corners[y] + 0.1 * torch.randn(len(y), classes, generator=generator), sure[y], y)
    predicted = torch.where(torch.arange(len(y)) < right * len(y), y, (y + 1) % classes)
    features = corners[y] + shift + 0.1 * torch.randn(len(y), classes, generator=generator)
    return Seen(source, source, Passed(features, sure[predicted]))


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_right_predictions_on_aligned_features_lead_back(classes):
    assert reverse(aligned(classes=classes), penalty=1.0) == 1


def test_wrong_predictions_do_not_lead_back():
    assert reverse(aligned(right=0.0), penalty=1.0) == 0


def test_domains_that_are_not_aligned_do_not_lead_back():
    seen = aligned()
    turned = replace(seen, target=replace(seen.target, features=seen.target.features.roll(1, 1)))
    assert reverse(turned, penalty=1.0) == 0


def test_a_few_wrong_predictions_are_outvoted():
    assert reverse(aligned(right=0.8), penalty=1.0) == 1


@settings(max_examples=20, deadline=None)
@given(st.integers(8, 40), st.integers(0, 99))
def test_it_is_the_accuracy_of_the_minimum_that_scipy_finds(samples, seed):
    seen, penalty = drawn(samples, features=2, classes=2, seed=seed), 0.5
    x, predicted = seen.target.features.double().numpy(), seen.target.logits.argmax(1).numpy()
    if len(set(predicted.tolist())) == 1:
        assert reverse(seen, penalty=penalty) == 0
        return
    mean, deviation = x.mean(0), x.std(0)
    x, sign = (x - mean) / deviation, 2 * predicted - 1

    def objective(parameters):
        margins = sign * (x @ parameters[:2] + parameters[2])
        return np.logaddexp(0, -margins).sum() + penalty * (parameters[:2] ** 2).sum() / 2

    found = minimize(objective, np.zeros(3), tol=1e-10).x
    margins = (seen.source_val.features.double().numpy() - mean) / deviation @ found[:2] + found[2]
    unsure = (np.abs(margins) < 1e-4).sum() / len(margins)
    expected = ((margins > 0) == (seen.source_val.y.numpy() == 1)).mean()
    assert reverse(seen, penalty=penalty) == pytest.approx(expected, abs=unsure + 1e-12)


@pytest.mark.parametrize("samples", [1, 20])
def test_one_class_alone_scores_lowest_even_if_it_is_the_sources_most_frequent(samples):
    seen = aligned()
    only = replace(
        seen, target=Passed(seen.target.features[:samples], 1000.0 * torch.eye(3)[torch.zeros(samples).long()])
    )
    often = replace(only, source_val=replace(seen.source_val, y=torch.zeros_like(seen.source_val.y)))
    assert reverse(only, penalty=1.0) == reverse(often, penalty=1.0) == 0


def test_constant_features_score_as_the_most_frequent_prediction():
    seen = aligned()
    predicted = torch.tensor([2] * 40 + [0] * 20)
    flat = replace(
        seen,
        target=Passed(torch.ones(60, 3), 1000.0 * torch.eye(3)[predicted]),
        source_val=replace(seen.source_val, features=torch.ones(60, 3)),
    )
    assert reverse(flat, penalty=1.0) == pytest.approx(1 / 3)


def test_order_and_scale_do_not_matter():
    seen = drawn(60)
    assert reverse(reordered(seen, 1), penalty=1.0) == pytest.approx(reverse(seen, penalty=1.0))
    parts = {name: replace(getattr(seen, name), features=8 * getattr(seen, name).features) for name in vars(seen)}
    assert reverse(replace(seen, **parts), penalty=1.0) == pytest.approx(reverse(seen, penalty=1.0))


@pytest.mark.parametrize(("part", "name"), [("target", "features"), ("target", "logits"), ("source_val", "features")])
def test_what_is_no_number_makes_the_score_nan(part, name):
    assert isnan(reverse(spoilt(drawn(), part, name), penalty=1.0))


@pytest.mark.parametrize("part", ["source_val", "target"])
def test_without_samples_there_is_an_error(part):
    with pytest.raises(InputError, match=r"selection=reverse reads .*, and there are none"):
        reverse(without(drawn(), part), penalty=1.0)


def test_a_penalty_of_0_is_refused():
    with pytest.raises(InputError, match=r"selection\.score\.penalty=0"):
        reverse(drawn(), penalty=0)
