import numpy as np
import pytest
import torch

from transferlab.data.parts import describe
from transferlab.data.samples import InMemory, Splits
from transferlab.data.target import Target
from transferlab.errors import InputError

NAMES = ("ant", "bee", "cat")
PLAIN = {
    "labels": "all",
    "imbalance": 1.0,
    "noise": 0.0,
    "missing_labels": 0.0,
    "missing_values": 0.0,
    "fitted_on": "target",
    "validation": 0.2,
    "folds": None,
    "fold": 0,
    "source_test": 0.0,
    "label_space": "same",
    "test": 0.3,
}


def samples(counts, start=0):
    """Samples whose input is their own index, so that a part tells which of them it holds."""
    y = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    y = y[torch.randperm(len(y), generator=torch.Generator().manual_seed(0))]
    return InMemory(torch.arange(start, start + len(y)).float()[:, None], y)


def target(train=(60, 50, 40), own_test=None, **settings):
    held = samples(own_test, start=10_000) if own_test is not None else None
    return Target(Splits(samples(train), held, NAMES), **{**PLAIN, **settings})


def ids(part):
    return part.x[:, 0].long().tolist() if part is not None else []


def per_class(part):
    return part.y.bincount(minlength=3).tolist()


SETTINGS = [
    {},
    {"labels": 10},
    {"labels": 0.5},
    {"labels": 10, "imbalance": 0.5},
    {"labels": 20, "folds": 4, "fold": 2},
    {"noise": 0.3},
    {"validation": 0.0},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("own_test", [None, (5, 5, 5)], ids=["cut", "own"])
def test_training_validation_and_test_share_no_sample(settings, own_test):
    parts = target(own_test=own_test, **settings).parts(seed=1)
    held = [*ids(parts.train), *ids(parts.val), *ids(parts.test)]
    assert len(held) == len(set(held))
    if own_test is not None:
        assert ids(parts.test) == list(range(10_000, 10_015))


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_test_split_never_depends_on_the_run_seed(settings):
    prints = {tuple(ids(target(**settings).parts(seed).test)) for seed in range(5)}
    # nor on what is seen of the rest
    assert prints == {tuple(ids(target().parts(seed=0).test))}


def test_the_test_cut_is_the_share_of_each_class():
    assert per_class(target(test=0.3).parts(0).test) == [18, 15, 12]


def test_a_sets_own_test_split_is_tested_whole():
    chosen = target(own_test=(7, 3, 1), labels=4)
    assert chosen.parts(0).test is chosen.data.test


def test_validation_is_counted_within_the_labels_seen():
    parts = target(own_test=(5, 5, 5), labels=10, validation=0.2).parts(0)
    assert per_class(parts.train) == [8, 8, 8]
    assert per_class(parts.val) == [2, 2, 2]
    assert parts.labels_seen == 30


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_labels_seen_counts_training_and_validation(settings):
    parts = target(**settings).parts(3)
    assert parts.labels_seen == len(ids(parts.train)) + len(ids(parts.val))


def test_without_a_validation_share_every_label_seen_trains():
    parts = target(labels=10, validation=0.0).parts(0)
    assert parts.val is None
    assert per_class(parts.train) == [10, 10, 10]


@pytest.mark.parametrize(
    "settings",
    [{"noise": 0.4}, {"validation": 0.5}, {"validation": 0.0}, {"folds": 5}, {"folds": 5, "fold": 3}],
    ids=str,
)
def test_the_labels_seen_depend_on_the_budget_and_the_seed_alone(settings):
    def labels_seen(seed, **settings):
        parts = target(labels=10, **settings).parts(seed)
        return {*ids(parts.train), *ids(parts.val)}

    torch.manual_seed(5)
    np.random.seed(5)
    assert labels_seen(7, **settings) == labels_seen(7)
    assert labels_seen(7, **settings) != labels_seen(8, **settings)


@pytest.mark.parametrize("seed", range(3))
def test_budgets_are_nested(seed):
    def seen(k):
        parts = target(labels=k).parts(seed)
        return {*ids(parts.train), *ids(parts.val)}

    assert seen(5) < seen(10) < seen(20) < seen("all")


def test_cutting_twice_gives_the_same_parts():
    chosen = target(labels=10, imbalance=0.5, noise=0.2)
    assert describe(chosen.parts(4)) == describe(chosen.parts(4))
    assert describe(chosen.parts(4)) != describe(chosen.parts(5))


def test_noise_changes_the_share_of_the_training_labels_and_no_others():
    clean, wrong = (target(labels=20, validation=0.5, noise=noise).parts(0) for noise in (0.0, 0.3))
    assert ids(wrong.train) == ids(clean.train)
    assert (wrong.train.y != clean.train.y).sum() == round(0.3 * 30)
    assert torch.equal(wrong.val.y, clean.val.y)
    assert torch.equal(wrong.test.y, clean.test.y)


def test_noise_leaves_the_data_set_itself_clean():
    chosen = target(noise=0.5)
    before = chosen.data.train.y.clone()
    chosen.parts(0)
    assert torch.equal(chosen.data.train.y, before)


def test_imbalance_thins_the_labels_seen():
    parts = target(labels=20, imbalance=0.25, validation=0.0).parts(0)
    assert per_class(parts.train) == [20, 10, 5]  # 20 * 0.25 ** (c / 2)


def test_folds_partition_the_labels_seen():
    folds = [target(labels=10, folds=5, fold=index).parts(2) for index in range(5)]
    held = [sample for parts in folds for sample in ids(parts.val)]
    assert len(held) == len(set(held)) == 30
    for parts in folds:
        assert per_class(parts.val) == [2, 2, 2]
        assert {*ids(parts.train), *ids(parts.val)} == set(held)


@pytest.mark.parametrize(
    ("sizes", "settings", "sentence"),
    [
        ({"train": (9, 0, 9), "own_test": (1, 1, 1)}, {}, "class 'bee' is missing from the training split"),
        ({"train": (0, 0, 0), "own_test": (1, 1, 1)}, {}, "missing from the training split"),
        ({"train": (9, 9, 9), "own_test": (0, 0, 0)}, {}, "test"),
        ({"train": (2, 2, 2)}, {"test": 0.9}, "missing from the training split"),
        ({}, {"test": 0.0}, r"test=0\.0 leaves no test samples"),
        ({}, {"test": 0.001}, "leaves no test samples"),
        ({}, {"labels": 2, "validation": 0.2}, r"leaves none to select on.*validation=0"),
        ({}, {"labels": 2, "validation": 0.9}, r"validation=0\.9"),
        ({}, {"labels": 10, "imbalance": 0.1, "validation": 0.6}, "cat"),
        ({}, {"labels": 30}, "class 'cat' has only 28"),
        ({}, {"labels": "none", "noise": 0.1}, r"target\.noise=0\.1 is about labels"),
        ({}, {"labels": "none", "folds": 5}, r"target\.folds=5 is about labels"),
        ({}, {"test": "al"}, r"test=al: a share"),
        ({}, {"test": "all"}, r"test=all tests on all whose labels are not seen"),
        ({}, {"labels": 4, "folds": 5}, "smallest class has 4"),
        ({}, {"labels": 10, "folds": 5, "fold": 5}, "counted from 0"),
    ],
    ids=str,
)
def test_parts_that_lack_samples_are_refused_with_their_name(sizes, settings, sentence):
    with pytest.raises(InputError, match=sentence):
        target(**sizes, **settings).parts(0)


def test_the_description_counts_what_the_parts_hold():
    parts = target(labels=10).parts(0)
    told = describe(parts)
    assert told["sizes"] == {"train": 24, "val": 6, "test": 45}
    assert told["classes"] == list(NAMES)
    assert told["labels_seen"] == 30
    assert told["fingerprints"] == {name: getattr(parts, name).fingerprint() for name in ("train", "val", "test")}


def test_the_description_lacks_a_validation_part_that_is_not_there():
    told = describe(target(validation=0.0).parts(0))
    assert set(told["sizes"]) == set(told["fingerprints"]) == {"train", "test"}


def test_noise_shows_in_the_fingerprint_of_the_training_part_alone():
    clean, wrong = (describe(target(noise=noise).parts(0))["fingerprints"] for noise in (0.0, 0.1))
    assert {name for name in clean if clean[name] != wrong[name]} == {"train"}


def unclassed(y, classes=("price",), **settings):
    """A target of 40 samples whose labels are no classes."""
    data = Splits(InMemory(torch.arange(len(y)).float()[:, None], y), None, classes)
    return Target(data, **{**PLAIN, "validation": 0.25, "test": 0.2, **settings})


NO_CLASSES = {
    "numbers": (torch.linspace(-1, 1, 40), ("price",)),
    "a number that is missing": (torch.linspace(-1, 1, 40).where(torch.arange(40) != 3, torch.nan), ("price",)),
    "multi-label": (torch.eye(4).repeat(10, 1), ("ant", "bee", "cat", "dog")),
    "tokens": (torch.arange(40 * 5).reshape(40, 5) % 3, NAMES),
    "masks": (torch.zeros(40, 2, 2).long(), NAMES),
    "nameless": (torch.arange(40) % 7, ()),
}


@pytest.mark.parametrize("kind", NO_CLASSES)
def test_labels_that_are_no_classes_are_cut_as_one_stratum(kind):
    y, classes = NO_CLASSES[kind]
    parts = unclassed(y, classes).parts(0)
    # 20 % of 40, then 25 % of the 32 left
    assert [len(part) for part in (parts.train, parts.val, parts.test)] == [24, 8, 8]
    held = [*ids(parts.train), *ids(parts.val), *ids(parts.test)]
    assert sorted(held) == list(range(40))
    assert (parts.classes, parts.labels_seen) == (classes, 32)
    for part in (parts.train, parts.val, parts.test):
        assert torch.equal(part.y.nan_to_num(9.0), y[ids(part)].nan_to_num(9.0))


@pytest.mark.parametrize(("labels", "seen"), [(10, 10), (0.5, 16), ("all", 32)])
def test_a_budget_of_labels_that_are_no_classes_counts_samples(labels, seen):
    y, classes = NO_CLASSES["multi-label"]
    parts = unclassed(y, classes, labels=labels, validation=0.0).parts(0)
    assert len(parts.train) == parts.labels_seen == seen
    if labels == 10:
        more = unclassed(y, classes, labels=20, validation=0.0).parts(0)
        assert set(ids(parts.train)) < set(ids(more.train))


def test_folds_partition_labels_that_are_no_classes():
    held = [unclassed(*NO_CLASSES["numbers"], folds=4, fold=index).parts(0).val for index in range(4)]
    assert [len(part) for part in held] == [8] * 4
    assert len({sample for part in held for sample in ids(part)}) == 32


@pytest.mark.parametrize("kind", NO_CLASSES)
@pytest.mark.parametrize("settings", [{"imbalance": 0.5}, {"noise": 0.1}], ids=str)
def test_imbalance_and_noise_of_labels_that_are_no_classes_are_refused(kind, settings):
    ((key, value),) = settings.items()
    with pytest.raises(InputError, match=rf"target\.{key}={value} is about classes"):
        unclassed(*NO_CLASSES[kind], **settings).parts(0)
