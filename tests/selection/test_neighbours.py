import warnings
from dataclasses import replace
from functools import partial
from math import exp, isnan, log, sqrt

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from passed import drawn, predicting, reordered, spoilt, without
from scipy.spatial.distance import cdist
from sklearn.metrics import adjusted_mutual_info_score

from transferlab.errors import InputError
from transferlab.selection import neighbours
from transferlab.selection.neighbours import class_cluster, snd, soft_neighbourhood_density
from transferlab.selection.seen import Passed
from transferlab.selection.seen import drawn as rows_drawn

CASES = settings(max_examples=20, deadline=None)
SND = partial(snd, temperature=0.05, samples=1000)
AMI = partial(class_cluster, score="ami", n_init=3, samples=1000)
SILHOUETTE = partial(class_cluster, score="silhouette", n_init=3, samples=1000)
RULES = [SND, AMI, SILHOUETTE]


def naive_snd(logits, temperature):
    """A pair after another."""
    p = [(row - row.max()).exp() / (row - row.max()).exp().sum() for row in logits.double()]
    total = 0.0
    for i in range(len(p)):
        powers = []
        for j in range(len(p)):
            if i != j:
                cosine = float(p[i] @ p[j]) / sqrt(float(p[i] @ p[i]) * float(p[j] @ p[j]))
                powers.append(exp(cosine / temperature))
        total -= sum(power / sum(powers) * log(power / sum(powers)) for power in powers)
    return total / len(p)


@CASES
@given(st.integers(2, 12), st.integers(2, 5), st.sampled_from([0.05, 0.3, 2.0]), st.integers(0, 99))
def test_snd_is_its_sum_over_pairs(samples, classes, temperature, seed):
    seen = drawn(samples, classes=classes, seed=seed)
    expected = naive_snd(seen.target.logits, temperature)
    assert snd(seen, temperature=temperature, samples=1000) == pytest.approx(expected, abs=1e-10)
    assert -1e-12 <= expected <= log(samples - 1) + 1e-12


@pytest.mark.parametrize("block", [1, 7, 40, 99, 10000])
def test_snd_does_not_depend_on_the_blocks(monkeypatch, block):
    p = drawn(40).target.logits.double().softmax(1)
    expected = soft_neighbourhood_density(p, 0.05)
    monkeypatch.setattr(neighbours, "_BLOCK", block)
    assert soft_neighbourhood_density(p, 0.05) == pytest.approx(expected, abs=1e-12)


def test_snd_of_sure_predictions_is_the_log_of_the_others_in_a_class():
    """Five others with weight e, ten without: at 0.05 they weigh 1 to e^-20; at 1 it is worked out."""
    seen = predicting([0, 1, 2] * 6)
    assert snd(seen, temperature=0.05, samples=1000) == pytest.approx(log(5), abs=1e-6)
    total = 5 * exp(1) + 12
    expected = -5 * exp(1) / total * log(exp(1) / total) + 12 / total * log(total)
    assert snd(seen, temperature=1.0, samples=1000) == pytest.approx(expected)


def test_snd_is_highest_for_one_class_alone():
    assert SND(predicting([1] * 9)) == pytest.approx(log(8))


def test_snd_of_two_samples_is_0():
    assert SND(drawn(2)) == pytest.approx(0)


def test_snd_of_a_sample_alone_is_an_error():
    with pytest.raises(InputError, match="there is one alone"):
        SND(drawn(1))


def test_snd_of_a_draw_is_that_of_its_rows():
    seen = drawn(50)
    rows = rows_drawn(50, 20)
    part = replace(seen, target=Passed(seen.target.features[rows], seen.target.logits[rows]))
    assert snd(seen, temperature=0.05, samples=20) == SND(part) != SND(seen)


def test_temperature_samples_and_starts_must_be_numbers_that_make_sense():
    with pytest.raises(InputError, match=r"selection\.score\.temperature=0"):
        snd(drawn(), temperature=0, samples=10)
    with pytest.raises(InputError, match=r"selection\.score\.samples=1"):
        snd(drawn(), temperature=0.05, samples=1)
    with pytest.raises(InputError, match=r"selection\.score\.n_init=0"):
        class_cluster(drawn(), score="ami", n_init=0, samples=10)
    with pytest.raises(InputError, match=r"no selection\.score\.score 'nmi'"):
        class_cluster(drawn(), score="nmi", n_init=1, samples=10)


def clusters(per_class=15, classes=3, seed=0):
    """Clusters of width 0.1 around the corners of a simplex, and the class of each sample."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(classes).repeat(per_class)
    return 5 * torch.eye(classes)[y] + 0.1 * torch.randn(len(y), classes, generator=generator), y


@pytest.mark.parametrize("classes", [2, 3, 6])
def test_predictions_that_are_the_clusters_score_highest(classes):
    features, y = clusters(classes=classes)
    assert AMI(predicting(y, features, classes)) == pytest.approx(1)
    assert SILHOUETTE(predicting(y, features, classes)) > 0.9
    assert AMI(predicting((y + 1) % classes, features, classes)) == pytest.approx(1)  # whatever their names


@pytest.mark.parametrize("wrong", [1, 5, 20])
def test_the_agreement_is_scikit_learns_where_the_clusters_are_known(wrong):
    features, y = clusters()
    predicted = y.clone()
    predicted[:wrong] = (y[:wrong] + 1) % 3
    assert AMI(predicting(predicted, features)) == pytest.approx(adjusted_mutual_info_score(predicted, y))


def test_predictions_that_ignore_the_clusters_score_about_0():
    features, _ = clusters(per_class=100)
    predicted = torch.randint(3, (300,), generator=torch.Generator().manual_seed(0))
    assert abs(AMI(predicting(predicted, features))) < 0.05
    assert abs(SILHOUETTE(predicting(predicted, features))) < 0.1


@CASES
@given(st.integers(4, 15), st.integers(2, 4), st.integers(0, 99))
def test_the_silhouette_is_its_sum_over_samples(samples, classes, seed):
    seen = drawn(samples, classes=classes, seed=seed)
    predicted = seen.target.logits.argmax(1).numpy()
    if len(set(predicted.tolist())) == 1:
        assert SILHOUETTE(seen) == -1
        return
    distances, total = cdist(seen.target.features.double().numpy(), seen.target.features.double().numpy()), 0.0
    for i in range(samples):
        own = [j for j in range(samples) if predicted[j] == predicted[i] and j != i]
        if own:  # a sample alone in its class counts 0
            a = distances[i, own].mean()
            b = min(distances[i, predicted == c].mean() for c in set(predicted.tolist()) - {predicted[i]})
            total += (b - a) / max(a, b)
    assert SILHOUETTE(seen) == pytest.approx(total / samples)


@pytest.mark.parametrize("rule", [AMI, SILHOUETTE])
@pytest.mark.parametrize("samples", [1, 2, 20])
def test_one_class_alone_scores_lowest(rule, samples):
    assert rule(predicting([1] * samples)) == -1
    assert rule(predicting([1] * samples, torch.randn(samples, 2), classes=2)) == -1


@pytest.mark.parametrize("rule", [AMI, SILHOUETTE])
def test_constant_features_say_nothing_and_warn_of_nothing(rule):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert rule(predicting([0, 1, 2, 0, 1], torch.ones(5, 2))) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("rule", [AMI, SILHOUETTE])
def test_fewer_samples_than_classes_have_a_score(rule):
    assert -1 <= rule(predicting([0, 4], torch.randn(2, 3), classes=5)) <= 1


@pytest.mark.parametrize("rule", RULES)
def test_the_order_of_the_samples_does_not_matter(rule):
    features, y = clusters()
    predicted = torch.where(torch.arange(len(y)) < 9, (y + 1) % 3, y)
    seen = predicting(predicted, features)
    assert rule(reordered(seen, 1)) == pytest.approx(rule(seen), abs=1e-12)


@pytest.mark.parametrize("rule", RULES)
def test_a_score_is_the_same_every_time_and_draws_no_random_number(rule):
    seen = drawn(60)
    score = rule(seen)
    state, numpys = torch.get_rng_state(), np.random.get_state()[1].copy()
    assert rule(seen) == score
    assert torch.equal(state, torch.get_rng_state()) and (numpys == np.random.get_state()[1]).all()


@pytest.mark.parametrize("rule", RULES)
def test_what_is_no_number_makes_the_score_nan(rule):
    assert isnan(rule(spoilt(drawn(), "target", "logits")))
    if rule is not SND:
        assert isnan(rule(spoilt(drawn(), "target", "features")))


@pytest.mark.parametrize("rule", RULES)
def test_without_target_inputs_there_is_an_error_and_the_source_is_not_read(rule):
    with pytest.raises(InputError, match="reads target inputs, and there are none"):
        rule(without(drawn(), "target"))
    assert isinstance(rule(without(without(drawn(), "source_val"), "source_train")), float)
