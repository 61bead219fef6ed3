import numpy as np
import pytest
from sklearn.model_selection import StratifiedKFold

from transferlab.data.labels import fold, hold_out, long_tail, noisy, seen
from transferlab.errors import InputError

NAMES = ("ant", "bee", "cat")
COUNTS = (40, 20, 12)


def mixed(counts=COUNTS, seed=0):
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))


def rng(seed=0):
    return np.random.default_rng(seed)


def per_class(y, classes=3):
    return np.bincount(y, minlength=classes).tolist()


@pytest.mark.parametrize("k", [1, 5, 12])
def test_k_labels_are_exactly_k_of_each_class(k):
    y = mixed()
    chosen = seen(y, k, rng(), NAMES)
    assert per_class(y[chosen]) == [k, k, k]
    assert len(np.unique(chosen)) == len(chosen)


@pytest.mark.parametrize(("share", "counts"), [(0.1, [4, 2, 1]), (0.25, [10, 5, 3]), (0.5, [20, 10, 6])])
def test_a_share_is_that_share_of_each_class(share, counts):
    y = mixed()
    assert per_class(y[seen(y, share, rng(), NAMES)]) == counts


def test_all_is_every_index_once():
    y = mixed()
    np.testing.assert_array_equal(seen(y, "all", rng(), NAMES), np.arange(len(y)))


@pytest.mark.parametrize(("small", "large"), [(1, 5), (5, 10), (10, 12), (0.1, 0.25), (0.25, 0.75), (1, "all")])
@pytest.mark.parametrize("seed", range(5))
def test_budgets_under_one_seed_are_nested(small, large, seed):
    y = mixed()
    few, many = (set(seen(y, budget, rng(seed), NAMES).tolist()) for budget in (small, large))
    assert few < many


def test_the_subset_depends_on_the_seed():
    y = mixed()
    subsets = [tuple(seen(y, 5, rng(seed), NAMES)) for seed in range(10)]
    assert subsets == [tuple(seen(y, 5, rng(seed), NAMES)) for seed in range(10)]
    assert len(set(subsets)) == 10


def test_each_sample_of_a_class_is_as_likely_to_be_seen():
    y = np.zeros(10, np.int64)
    drawn = np.bincount(np.concatenate([seen(y, 2, rng(seed), ("only",)) for seed in range(2000)]))
    # 2 of 10 in 2,000 draws: 400 +- 17.9; five standard deviations on either side
    assert np.abs(drawn - 400).max() < 5 * (2000 * 0.2 * 0.8) ** 0.5


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (13, r"class 'cat' has only 12 .*at most"),
        (0.02, r"'bee' \(20 samples\) without any label"),
        ("al", r"labels=al: 'none', 'all', an integer k"),
        (0, "labels=0: 'none', 'all', an integer"),
        (-3, "labels=-3: 'none', 'all', an integer"),
        (-0.5, "a share between 0 and 1"),
        (True, "labels=True: 'none', 'all', an integer"),
        (None, "labels=None: 'none', 'all', an integer"),
        (1.0, "for 1 a class write an integer"),
        (10.0, "for 10 a class write an integer"),
        (float("nan"), "a share lies between 0 and 1"),
    ],
)
def test_a_budget_that_cannot_be_met_is_refused_with_the_remedy(labels, sentence):
    with pytest.raises(InputError, match=sentence):
        seen(mixed(), labels, rng(), NAMES)


@pytest.mark.parametrize("factor", [1.0, 0.5, 0.1, 0.01])
@pytest.mark.parametrize("classes", [1, 2, 10])
def test_the_long_tail_is_exponential_in_the_class_and_keeps_one_at_least(factor, classes):
    y = mixed([500] * classes)
    counts = per_class(y[long_tail(y, factor, rng(), classes)], classes)
    expected = [500 * (factor ** (c / (classes - 1)) if classes > 1 else 1.0) for c in range(classes)]
    assert np.abs(np.array(counts) - np.maximum(expected, 1)).max() <= 0.5


def test_a_thin_class_keeps_one_sample_of_a_long_tail():
    y = mixed([50, 50, 3])
    assert per_class(y[long_tail(y, 0.01, rng(), 3)])[2] == 1


def test_stronger_imbalance_keeps_a_subset_of_weaker():
    y = mixed([100, 100, 100])
    strong, weak = (set(long_tail(y, factor, rng(), 3).tolist()) for factor in (0.1, 0.5))
    assert strong < weak


@pytest.mark.parametrize("factor", [0, -0.1, 1.01, float("nan")])
def test_an_imbalance_that_is_no_share_is_refused(factor):
    with pytest.raises(InputError, match=r"target\.imbalance="):
        long_tail(mixed(), factor, rng(), 3)


@pytest.mark.parametrize(("share", "held_counts"), [(0.25, [10, 5, 3]), (0.5, [20, 10, 6]), (0.0, [0, 0, 0])])
def test_what_is_held_out_is_the_share_of_each_class_and_disjoint_from_the_rest(share, held_counts):
    y = mixed()
    kept, held = hold_out(y, share, rng())
    assert per_class(y[held]) == held_counts
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, held])), np.arange(len(y)))


@pytest.mark.parametrize("share", [-0.1, 1, 1.5, float("nan")])
def test_a_held_out_share_outside_the_unit_interval_is_refused(share):
    with pytest.raises(InputError, match="held-out share"):
        hold_out(mixed(), share, rng())


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_folds_partition_the_samples(folds):
    y = mixed()
    cuts = [fold(y, folds, index, seed=4) for index in range(folds)]
    np.testing.assert_array_equal(np.sort(np.concatenate([held for _, held in cuts])), np.arange(len(y)))
    for train, held in cuts:
        np.testing.assert_array_equal(np.sort(np.concatenate([train, held])), np.arange(len(y)))


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_folds_are_stratified(folds):
    y = mixed()
    for index in range(folds):
        _, held = fold(y, folds, index, seed=4)
        assert np.abs(np.array(per_class(y[held])) - np.array(COUNTS) / folds).max() < 1


def test_a_fold_is_sklearns_shuffled_stratified_fold_of_the_seed():
    y = mixed()
    splits = StratifiedKFold(3, shuffle=True, random_state=9).split(y, y)
    for index, (train, held) in enumerate(splits):
        ours = fold(y, 3, index, seed=9)
        np.testing.assert_array_equal(ours[0], train)
        np.testing.assert_array_equal(ours[1], held)


def test_folds_are_the_same_for_the_same_seed_and_others_for_another():
    y = mixed()
    first, again, other = (fold(y, 3, 1, seed)[1].tolist() for seed in (4, 4, 5))
    assert first == again != other


@pytest.mark.parametrize(
    ("folds", "index", "sentence"),
    [(1, 0, "at least 2 folds"), (3, 3, "counted from 0"), (3, -1, "counted from 0"), (13, 0, "smallest class has 12")],
)
def test_folds_that_do_not_exist_are_refused(folds, index, sentence):
    with pytest.raises(InputError, match=sentence):
        fold(mixed(), folds, index, seed=0)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.9])
def test_label_noise_changes_exactly_the_share_and_always_to_another_class(share):
    y = mixed()
    wrong = noisy(y, share, 3, rng())
    # A change to the same class would not count here, so the number proves both.
    assert (wrong != y).sum() == round(share * len(y))
    assert set(wrong.tolist()) <= {0, 1, 2}


def test_label_noise_is_uniform_over_the_other_classes():
    wrong = noisy(np.full(3000, 2), 0.9, 4, rng())
    counts = np.bincount(wrong, minlength=4)[[0, 1, 3]]
    # 2,700 changes over 3 classes: 900 +- 24.5; five standard deviations on either side
    assert np.abs(counts - 900).max() < 5 * (2700 * (1 / 3) * (2 / 3)) ** 0.5


def test_label_noise_leaves_the_labels_it_was_given():
    y = mixed()
    before = y.copy()
    noisy(y, 0.5, 3, rng())
    np.testing.assert_array_equal(y, before)


@pytest.mark.parametrize("share", [-0.1, 1, float("nan")])
def test_a_noise_that_is_no_share_is_refused(share):
    with pytest.raises(InputError, match=r"target\.noise="):
        noisy(mixed(), share, 3, rng())


def test_noise_among_one_class_is_refused():
    with pytest.raises(InputError):
        noisy(np.zeros(10, np.int64), 0.5, 1, rng())
