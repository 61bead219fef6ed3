"""What every score promises: order, rotation, symmetry, bounds, and a sentence for what cannot be scored."""

from dataclasses import replace
from math import isfinite, log

import numpy as np
import pytest
import torch
from candidates import ALL, DISTANCES, SCORES, beside_itself, drawn, exchanged, moved, reordered, rotation
from hypothesis import given, settings
from hypothesis import strategies as st

from transferlab.errors import InputError
from transferlab.transferability.candidate import Candidate

CASES = settings(max_examples=10, deadline=None)
SEEDS = st.integers(0, 999)
ROTATES = [
    "logme", "h_score", "shrunk_h_score", "gbc", "transrate", "neighbours_accuracy", "mean_distance", "mmd_distance",
    "coral_distance", "frechet_distance", "otdd_distance", "linear_cka",
]  # fmt: skip
SHIFTS = [name for name in (*ROTATES, "gbc_diagonal", "probe_accuracy", "proxy_a_distance") if name != "logme"]
LABELLED = [*SCORES, "otdd_distance"]
OF_FEATURES = [name for name in SCORES if name not in ("leep", "nce")]


@pytest.mark.parametrize("name", ALL)
@CASES
@given(seed=SEEDS, size=st.sampled_from([1, 4, 40]), times=st.sampled_from([1, 3]))
def test_the_order_of_samples_does_not_matter(name, seed, size, times):
    """Nor where each is there several times, under several classes."""
    one = drawn(size=size, seed=seed)
    one = replace(one, features=np.concatenate([one.features[: 24 // times]] * times))
    assert ALL[name](reordered(one, seed)) == pytest.approx(ALL[name](one), rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("name", ROTATES)
@CASES
@given(seed=SEEDS, size=st.sampled_from([1, 4, 40]))
def test_a_rotation_of_features_does_not_matter(name, seed, size):
    one = drawn(size=size, seed=seed)
    assert ALL[name](moved(one, rotation(size, seed))) == pytest.approx(ALL[name](one), rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("name", ["gbc_diagonal", "probe_accuracy", "proxy_a_distance"])
def test_those_that_look_at_single_features_do_see_a_rotation(name):
    found = [(ALL[name](one), ALL[name](moved(one, rotation(4)))) for one in map(stretched, range(8))]
    assert any(a != pytest.approx(b, rel=1e-3) for a, b in found)


def stretched(seed):
    one = drawn(size=4, seed=seed, apart=0.7)
    scales = np.array([0.05, 1.0, 8.0, 1.0])
    return replace(one, features=one.features * scales, source_features=one.source_features * scales)


@pytest.mark.parametrize("name", SHIFTS)
def test_an_offset_that_all_samples_share_does_not_matter(name):
    one = drawn(seed=3)
    assert ALL[name](moved(one, np.eye(4), 7.0)) == pytest.approx(ALL[name](one), rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("name", ["logme", "h_score", "neighbours_accuracy", "probe_accuracy", "proxy_a_distance"])
def test_the_features_unit_does_not_matter(name):
    one = drawn(seed=4)
    assert ALL[name](moved(one, np.eye(4), scale=1e3)) == pytest.approx(ALL[name](one), rel=1e-6)


@pytest.mark.parametrize("name", LABELLED)
@CASES
@given(seed=SEEDS, names=st.permutations([40, 7, -3]), times=st.integers(1, 2))
def test_what_the_classes_are_called_does_not_matter(name, seed, names, times):
    """Nor where samples are there several times, under several classes."""
    one, names = drawn(seed=seed), np.array(names)
    one = replace(one, features=np.concatenate([one.features[: 24 // times]] * times))
    other = replace(one, labels=names[one.labels], source_labels=names[one.source_labels])
    assert ALL[name](other) == pytest.approx(ALL[name](one), rel=1e-9)


# shrinkage and the mean variance of `spherical` count features
@pytest.mark.parametrize("name", [name for name in OF_FEATURES if name not in ("shrunk_h_score", "gbc")])
def test_a_feature_that_is_0_for_all_samples_does_not_matter(name):
    one = drawn(seed=6)
    wider = replace(
        one,
        features=np.pad(one.features, ((0, 0), (0, 2))),
        source_features=np.pad(one.source_features, ((0, 0), (0, 2))),
    )
    assert ALL[name](wider) == pytest.approx(ALL[name](one), rel=1e-7)


@pytest.mark.parametrize("name", OF_FEATURES)
def test_classes_that_lie_further_apart_score_higher(name):
    near, far = (np.mean([SCORES[name](drawn(60, seed=seed, apart=by)) for seed in range(5)]) for by in (0.2, 4.0))
    assert far > near


@pytest.mark.parametrize("name", DISTANCES)
@CASES
@given(seed=SEEDS, size=st.sampled_from([1, 4, 40]))
def test_a_distance_is_symmetric_and_not_negative(name, seed, size):
    one = drawn(size=size, seed=seed)
    assert ALL[name](exchanged(one)) == pytest.approx(ALL[name](one), rel=1e-7, abs=1e-9)
    assert ALL[name](one) >= 0


@pytest.mark.parametrize("name", DISTANCES)
@CASES
@given(seed=SEEDS, size=st.sampled_from([1, 4, 40]))
def test_a_set_is_at_no_distance_from_itself(name, seed, size):
    one = beside_itself(drawn(size=size, seed=seed))
    assert ALL[name](one) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", [name for name in DISTANCES if name not in ("task2vec_distance", "coral_distance")])
def test_a_distance_grows_with_a_shift(name):
    one = drawn(seed=7)
    near, far = (
        ALL[name](replace(one, source_features=one.features[:20] + by, source_labels=one.labels[:20]))
        for by in (0.5, 5)
    )
    assert near < far


@CASES
@given(seed=SEEDS, classes=st.integers(2, 5), size=st.sampled_from([1, 3, 40]))
def test_scores_keep_their_bounds(seed, classes, size):
    one = drawn(25, size=size, classes=classes, seed=seed)
    for name in ("leep", "nce", "nleep"):
        assert ALL[name](one) <= 0
    assert ALL["nce"](one) >= -log(classes) - 1e-12
    for name in ("h_score", "shrunk_h_score"):
        assert 0 <= ALL[name](one) <= classes - 1 + 1e-9
    for name in ("gbc", "gbc_diagonal"):
        assert -classes * (classes - 1) - 1e-9 <= ALL[name](one) <= 0
    assert ALL["transrate"](one) >= 0
    for name in ("neighbours_accuracy", "probe_accuracy", "linear_cka", "task2vec_distance"):
        assert 0 <= ALL[name](one) <= 1
    assert ALL["proxy_a_distance"](one) <= 2


@pytest.mark.parametrize("name", SCORES)
def test_one_class_alone_is_a_sentence(name):
    one = drawn()
    with pytest.raises(InputError, match="tells classes apart, and the target has one alone: take samples of others"):
        ALL[name](replace(one, labels=np.zeros_like(one.labels)))


@pytest.mark.parametrize("name", LABELLED)
def test_no_labels_is_a_sentence(name):
    with pytest.raises(InputError, match="reads labels of the target, and there are none: provide them"):
        ALL[name](replace(drawn(), labels=None))


@pytest.mark.parametrize("name", [name for name in LABELLED if name != "logme"])
def test_numbers_for_classes_are_a_sentence(name):
    with pytest.raises(InputError, match=r"one class a sample.* choose score logme"):
        ALL[name](replace(drawn(), labels=np.linspace(0, 1, 24)))


@pytest.mark.parametrize("name", SCORES)
def test_one_sample_a_class_is_a_number_or_a_sentence(name):
    one = drawn(5, classes=5)
    try:
        assert isfinite(ALL[name](one))
    except InputError as error:
        assert name in ("nleep", "probe_accuracy") and "lower" in str(error)


@pytest.mark.parametrize("name", ALL)
def test_fewer_samples_than_features_is_a_number(name):
    assert isfinite(ALL[name](drawn(12, size=300, source=10)))


@pytest.mark.parametrize("name", ALL)
def test_features_that_do_not_vary_are_a_number_or_a_sentence(name):
    one = drawn()
    still = replace(one, features=np.ones_like(one.features), source_features=np.ones_like(one.source_features))
    try:
        assert isfinite(ALL[name](still))
    except InputError as error:
        assert name in ("nleep", "linear_cka", "mmd_distance") and (
            "see w" in str(error) or "set a number" in str(error)
        )


@pytest.mark.parametrize(
    "part", ["features", "probabilities", "source_features", "reference", "embedding", "source_embedding"]
)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_a_sentence_that_says_where(part, value):
    one = drawn()
    spoilt = getattr(one, part).copy()
    spoilt.flat[-1] = value
    place = ", ".join(str(length - 1) for length in spoilt.shape)
    with pytest.raises(InputError, match=rf"candidate's {part} are no number at \({place},?\): see whether"):
        replace(one, **{part: spoilt})


@pytest.mark.parametrize("name", ALL)
def test_what_a_score_does_not_have_is_a_sentence(name):
    with pytest.raises(InputError, match=r"reads .*(none|labels)"):
        ALL[name](Candidate(np.random.default_rng(0).normal(size=(9, 3))))


def test_tensors_of_any_precision_are_taken_and_scored_in_float64():
    one = drawn()
    tensors = Candidate(torch.tensor(one.features, requires_grad=True).bfloat16(), torch.tensor(one.labels).int())
    assert (tensors.features.dtype, tensors.labels.dtype) == (np.float64, np.int64)
    assert ALL["logme"](tensors) == pytest.approx(ALL["logme"](one), abs=0.02)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"features": np.ones(3)}, r"features are of shape \(samples, numbers\)"),
        ({"features": np.ones((0, 3))}, r"features have the shape \(0, 3\), which holds nothing"),
        ({"features": np.ones((3, 2)), "labels": [0, 1]}, r"labels have 2 samples where 3 are"),
        ({"features": np.ones((3, 2)), "labels": 1}, r"labels have .* samples where 3 are"),
        ({"features": np.ones((2, 2)), "probabilities": [[0.5, 0.6], [0.5, 0.5]]}, "apply softmax to logits"),
        ({"features": np.ones((2, 2)), "source_features": np.ones((5, 3))}, "source_features have 3 features where 2"),
        ({"features": np.ones((2, 2)), "embedding": [1.0], "source_embedding": [1.0, 2.0]}, "have 2 numbers where 1"),
    ],
)
def test_parts_that_do_not_fit_together_are_a_sentence(parts, message):
    with pytest.raises(InputError, match=message):
        Candidate(**parts)
