from dataclasses import replace
from math import isnan

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from passed import drawn, reordered, spoilt, without
from scipy.optimize import minimize
from torch.nn.functional import cross_entropy

from transferlab.errors import InputError
from transferlab.selection.seen import Labelled, Passed, Seen
from transferlab.selection.weighting import controlled, density_ratio, dev, iwv

CASES = settings(max_examples=20, deadline=None)
RULES = [iwv, dev]


def ratio_of_seen(seen, penalty):
    parts = (seen.source_train, seen.target, seen.source_val)
    return density_ratio(*(part.features.double() for part in parts), penalty)


def plain_losses(seen, measure):
    logits, y = seen.source_val.logits.double(), seen.source_val.y
    if measure == "error":
        return [float(row.argmax() != label) for row, label in zip(logits, y, strict=True)]
    return [float(cross_entropy(row[None], label[None])) for row, label in zip(logits, y, strict=True)]


@CASES
@given(st.integers(5, 30), st.sampled_from(["error", "loss"]), st.integers(0, 99))
def test_iwv_is_the_mean_of_weighted_losses(samples, measure, seed):
    seen = drawn(samples, seed=seed)
    weights, losses = ratio_of_seen(seen, 1.0).tolist(), plain_losses(seen, measure)
    expected = 0.0
    for weight, loss in zip(weights, losses, strict=True):
        expected -= weight * loss / len(losses)
    assert iwv(seen, measure=measure, penalty=1.0) == pytest.approx(expected)
    assert iwv(seen, measure=measure, penalty=1.0) <= 0


@CASES
@given(st.integers(5, 30), st.sampled_from(["error", "loss"]), st.integers(0, 99))
def test_dev_is_numpys_covariances(samples, measure, seed):
    seen = drawn(samples, seed=seed)
    weights = ratio_of_seen(seen, 1.0).numpy()
    weighted = weights * np.array(plain_losses(seen, measure))
    eta = -np.cov(weighted, weights)[0, 1] / np.var(weights, ddof=1)
    assert dev(seen, measure=measure, penalty=1.0) == pytest.approx(-(weighted.mean() + eta * weights.mean() - eta))


def test_the_ratio_is_that_of_the_minimum_that_scipy_finds():
    seen, penalty = drawn(40, features=2), 0.7
    source, target = seen.source_train.features.double().numpy(), seen.target.features.double().numpy()
    x = np.concatenate([source, target])
    mean, deviation = x.mean(0), x.std(0)
    x, sign = (x - mean) / deviation, np.repeat([-1, 1], [len(source), len(target)])

    def objective(parameters):
        margins = sign * (x @ parameters[:2] + parameters[2])
        return np.logaddexp(0, -margins).sum() + penalty * (parameters[:2] ** 2).sum() / 2

    found = minimize(objective, np.zeros(3), tol=1e-12).x
    odds = np.exp((seen.source_val.features.double().numpy() - mean) / deviation @ found[:2] + found[2])
    expected = odds * len(source) / len(target)
    np.testing.assert_allclose(ratio_of_seen(seen, penalty).numpy(), expected, rtol=1e-4)


def test_the_ratio_of_two_gaussians_is_the_true_one():
    """N(1, 1) over N(0, 1) is exp(x - 1/2), which is a logistic regression's; of unequal numbers too."""
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(20000, 1, generator=generator, dtype=torch.float64)
    target = torch.randn(10000, 1, generator=generator, dtype=torch.float64) + 1
    x = torch.linspace(-1, 2, 7, dtype=torch.float64)[:, None]
    torch.testing.assert_close(density_ratio(source, target, x, 1e-3), (x[:, 0] - 0.5).exp(), rtol=0.1, atol=0)


def shifted(seed=0):
    """Inputs N(0, 1) and N(1, 1), a net wrong where x > 1: in truth 1/2 of the target, 0.16 of the source."""
    generator = torch.Generator().manual_seed(seed)

    def part(shift):
        x = torch.randn(20000, 1, generator=generator) + shift
        return x, torch.stack([1 - x[:, 0], x[:, 0] - 1], 1)

    x, logits = part(0.0)
    held, held_logits = part(0.0)
    zeros = torch.zeros(len(x), dtype=torch.long)
    return Seen(Labelled(x, logits, zeros), Labelled(held, held_logits, zeros), Passed(*part(1.0)))


@pytest.mark.parametrize("rule", RULES)
def test_under_covariate_shift_the_targets_error_is_estimated(rule):
    seen = shifted()
    assert float((seen.source_val.logits.argmax(1) != 0).float().mean()) == pytest.approx(0.159, abs=0.01)
    assert -rule(seen, measure="error", penalty=1.0) == pytest.approx(0.5, abs=0.03)


def test_the_control_variate_lowers_the_variance():
    generator = np.random.default_rng(0)
    plain, lowered = [], []
    for _ in range(300):
        x = generator.normal(size=200)
        weights = torch.from_numpy(np.exp(x - 0.5))
        weighted = weights * torch.from_numpy((x > 0.5).astype(float))
        plain.append(float(weighted.mean()))
        lowered.append(controlled(weighted, weights))
    assert np.var(lowered) < 0.5 * np.var(plain)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("measure", ["error", "loss"])
def test_of_equal_domains_it_is_the_plain_risk(rule, measure):
    seen = drawn(30)
    seen = replace(seen, target=Passed(seen.source_train.features, seen.source_train.logits))
    risk = np.mean(plain_losses(seen, measure))
    assert rule(seen, measure=measure, penalty=1.0) == pytest.approx(-risk, rel=1e-4)


@pytest.mark.parametrize("constant", [1.0, 0.3, 4.0])
def test_of_constant_weights_dev_is_iwv(constant):
    losses = torch.rand(9, dtype=torch.float64)
    weights = torch.full((9,), constant, dtype=torch.float64)
    expected = pytest.approx(float(constant * losses.mean()))
    assert controlled(weights * losses, weights) == expected
    assert controlled(weights * losses, weights + 1e-16 * torch.randn(9).double()) == expected


def test_a_constant_loss_is_estimated_without_any_variance():
    weights = torch.rand(9, dtype=torch.float64)
    assert controlled(0.7 * weights, weights) == pytest.approx(0.7)


@pytest.mark.parametrize("rule", RULES)
def test_constant_features_give_the_plain_risk(rule):
    seen = drawn(20)
    parts = {
        name: replace(getattr(seen, name), features=torch.ones_like(getattr(seen, name).features))
        for name in vars(seen)
    }
    risk = np.mean(plain_losses(seen, "loss"))
    assert rule(replace(seen, **parts), measure="loss", penalty=1.0) == pytest.approx(-risk, rel=1e-4)


@pytest.mark.parametrize("rule", RULES)
def test_order_and_scale_of_the_features_do_not_matter(rule):
    seen = drawn(40)
    score = pytest.approx(rule(seen, measure="loss", penalty=1.0), rel=1e-4)
    assert rule(reordered(seen, 1), measure="loss", penalty=1.0) == score
    parts = {name: replace(getattr(seen, name), features=50 * getattr(seen, name).features - 3) for name in vars(seen)}
    assert rule(replace(seen, **parts), measure="loss", penalty=1.0) == score


def test_a_high_penalty_brings_the_ratio_to_1():
    torch.testing.assert_close(ratio_of_seen(drawn(30), 1e6), torch.ones(16, dtype=torch.float64), rtol=0, atol=1e-3)


@pytest.mark.parametrize("rule", RULES)
def test_one_sample_a_part_and_domains_that_lie_far_apart_have_a_score(rule):
    assert not isnan(rule(drawn(1, classes=2), measure="loss", penalty=1.0))
    seen = drawn(20)
    far = replace(seen, target=replace(seen.target, features=seen.target.features + 1e4))
    assert not isnan(rule(far, measure="loss", penalty=1e-3))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    ("part", "name"),
    [("source_train", "features"), ("source_val", "features"), ("source_val", "logits"), ("target", "features")],
)
def test_what_is_no_number_makes_the_score_nan(rule, part, name):
    assert isnan(rule(spoilt(drawn(), part, name), measure="loss", penalty=1.0))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("part", ["source_train", "source_val", "target"])
def test_without_samples_there_is_an_error(rule, part):
    with pytest.raises(InputError, match=f"selection={rule.__name__} reads .*, and there are none"):
        rule(without(drawn(), part), measure="loss", penalty=1.0)


@pytest.mark.parametrize("rule", RULES)
def test_another_measure_or_no_penalty_is_refused(rule):
    with pytest.raises(InputError, match=r"no selection\.score\.measure 'accuracy'"):
        rule(drawn(), measure="accuracy", penalty=1.0)
    with pytest.raises(InputError, match=r"selection\.score\.penalty=0"):
        rule(drawn(), measure="loss", penalty=0)
