from functools import partial
from math import sqrt

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from passed import drawn, predicting, reordered, spoilt, without

from transferlab.errors import InputError
from transferlab.selection.collapse import collapse

GUARD = partial(collapse, share=0.9, excess=0.3, distance=0.5)
ONE_CLASS = partial(collapse, share=0.9, excess=0.3, distance=1.0)
FAR = partial(collapse, share=1.1, excess=1.0, distance=0.5)


def counted(target, source):
    """Predictions and source labels, so many of each class."""
    labels = [[c for c, number in enumerate(counts) for _ in range(number)] for counts in (target, source)]
    return predicting(labels[0], classes=len(target), source=labels[1])


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_predictions_like_the_source_have_not_collapsed(classes):
    assert GUARD(counted([50] * classes, [20] * classes)) is None


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("label", [0, 1])
def test_one_class_alone_is_named_with_its_share(classes, label):
    found = ONE_CLASS(counted([200 * (c == label) for c in range(classes)], [20] * classes))
    assert (found.label, found.share) == (label, 1.0)
    assert f"100% of the target's predictions are class {label}" in found.reason


def test_constant_logits_are_one_class_alone():
    seen = counted([100, 0], [10, 10])
    seen.target.logits.zero_()
    assert ONE_CLASS(seen).share == 1


def test_the_share_is_compared_with_its_threshold():
    source = [100, 100]
    assert ONE_CLASS(counted([900, 100], source)) is not None
    assert ONE_CLASS(counted([899, 101], source)) is None


def test_a_class_that_the_source_has_as_often_has_not_collapsed():
    """At two classes of 9 to 1 the frequent one alone is 0.1 more than the source's; the rare one alone is 0.9."""
    assert GUARD(counted([1000, 0], [900, 100])) is None
    found = GUARD(counted([0, 1000], [900, 100]))
    assert found.label == 1 and "as are 10% of the source's labels" in found.reason


def test_the_excess_counts_what_chance_adds():
    """A prior of 1/2 and 100 samples: chance adds sqrt(1 / 100) / 2 = 0.05, and 0.95 is 0.45 more than the prior."""
    seen = counted([95, 5], [10, 10])
    assert collapse(seen, share=0.9, excess=0.40, distance=1.0) is not None
    assert collapse(seen, share=0.9, excess=0.41, distance=1.0) is None


def test_classes_far_from_the_sources_are_told_by_their_distance():
    """Half of ten classes never predicted, no class with more than 0.2: total variation 1/2, chance sqrt(9 / N) / 2."""
    seen = counted([400] * 5 + [0] * 5, [10] * 10)
    found = collapse(seen, share=0.9, excess=0.3, distance=0.45)
    assert (found.label, found.share) == (0, 0.2)
    assert "0.50 from the source's (total variation)" in found.reason and "20% of the" in found.reason
    assert collapse(seen, share=0.9, excess=0.3, distance=0.5) is None


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 30)), min_size=2, max_size=6), st.floats(0, 1))
def test_the_distance_is_the_naive_one(counts, distance):
    target, source = ([pair[i] for pair in counts] for i in (0, 1))
    if sum(target) == 0:
        return
    apart = sum(abs(t / sum(target) - s / sum(source)) for t, s in counts) / 2
    beyond = apart - sqrt((len(counts) - 1) / sum(target)) / 2 - distance
    if abs(beyond) > 1e-9:
        found = collapse(counted(target, source), share=1.1, excess=1.0, distance=distance)
        assert (found is not None) == (beyond > 0)


@pytest.mark.parametrize("samples", [1, 2])
def test_of_a_few_predictions_nothing_is_said(samples):
    assert GUARD(counted([samples, 0], [10, 10])) is None
    assert GUARD(counted([samples, 0, 0], [10, 10, 10])) is None


def test_draws_from_the_sources_classes_are_rarely_flagged():
    generator = torch.Generator().manual_seed(0)
    flagged = 0
    for _ in range(200):
        seen = predicting(torch.randint(10, (20,), generator=generator), classes=10)
        flagged += collapse(seen, share=0.9, excess=0.2, distance=0.2) is not None
    assert flagged <= 2


def test_the_order_of_the_samples_does_not_matter():
    seen = counted([190, 10, 0], [10, 10, 10])
    assert GUARD(reordered(seen, 1)) == GUARD(seen) is not None


def test_of_what_is_no_number_nothing_is_said():
    assert GUARD(spoilt(counted([200, 0], [10, 10]), "target", "logits")) is None


def test_without_samples_of_the_target_there_is_an_error():
    with pytest.raises(InputError, match=r"the guard against collapse reads .*, and there are none"):
        GUARD(without(drawn(), "target"))


def test_without_labels_of_the_source_one_class_alone_has_collapsed():
    found = GUARD(without(counted([190, 10, 0], [10, 10, 10]), "source_train"))
    assert found is not None and found.label == 0 and found.reason.endswith("are class 0 of 3")
    assert FAR(without(counted([190, 10, 0], [10, 10, 10]), "source_train")) is None
    assert GUARD(without(counted([150, 50, 0], [10, 10, 10]), "source_train")) is None
    assert GUARD(without(counted([5, 0], [10, 10]), "source_train")) is None  # five draws say nothing


def test_either_criterion_is_enough():
    seen = counted([200, 0, 0], [10, 10, 10])
    assert ONE_CLASS(seen) is not None and FAR(seen) is not None
