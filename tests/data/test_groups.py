"""Samples that belong together are never parted by a cut."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from transferlab.data.labels import fold, hold_out
from transferlab.data.missing import Holed, without_values
from transferlab.data.samples import InMemory, Splits, groups
from transferlab.data.target import Target
from transferlab.errors import InputError

belonging = st.lists(st.integers(0, 9), min_size=2, max_size=40).map(np.asarray).filter(lambda g: len(np.unique(g)) > 1)
seeds = st.integers(0, 1000)


@given(belonging, st.floats(0, 0.99), seeds)
def test_a_group_is_held_out_or_kept_as_a_whole(g, share, seed):
    y = np.zeros(len(g), np.int64)
    kept, held = hold_out(y, share, np.random.default_rng(seed), g)
    assert sorted([*kept, *held]) == list(range(len(g)))
    assert not set(g[kept]) & set(g[held])
    assert len(kept) > 0
    assert (len(held) > 0) == (round(share * len(g)) > 0)
    again = hold_out(y, share, np.random.default_rng(seed), g)
    assert all((one == other).all() for one, other in zip((kept, held), again, strict=True))


@given(belonging, st.floats(0, 0.99), seeds)
def test_what_is_held_out_is_as_near_to_the_share_as_groups_in_their_order_come(g, share, seed):
    # the same draw at every share shows the order: what a larger share holds out has the smaller one's within
    y, wanted = np.zeros(len(g), np.int64), round(share * len(g))
    sizes = {len(hold_out(y, s, np.random.default_rng(seed), g)[1]) for s in np.arange(len(g)) / len(g)} - {0}
    held = len(hold_out(y, share, np.random.default_rng(seed), g)[1])
    assert abs(held - wanted) == (min(abs(size - wanted) for size in sizes) if wanted else 0)


@given(st.data(), belonging, seeds)
def test_folds_hold_each_sample_once_and_part_no_group(data, g, seed):
    folds = data.draw(st.integers(2, len(np.unique(g))))
    cuts = [fold(np.zeros(len(g), np.int64), folds, index, seed, g) for index in range(folds)]
    assert sorted(np.concatenate([held for _, held in cuts])) == list(range(len(g)))
    for train, held in cuts:
        assert not set(g[train]) & set(g[held])
        assert sorted([*train, *held]) == list(range(len(g)))
    counts = [len(np.unique(g[held])) for _, held in cuts]
    assert 0 < min(counts) >= max(counts) - 1


def test_folds_of_groups_depend_on_the_seed():
    g = np.repeat(np.arange(9), 2)
    cuts = [tuple(fold(np.zeros(18, np.int64), 3, 0, seed, g)[1]) for seed in range(10)]
    assert cuts == [tuple(fold(np.zeros(18, np.int64), 3, 0, seed, g)[1]) for seed in range(10)]
    assert len(set(cuts)) > 5


def test_fewer_groups_than_folds_are_said():
    with pytest.raises(InputError, match="labels are of 2 groups that belong together; take at most that many"):
        fold(np.zeros(6, np.int64), 3, 0, 0, np.array([0, 0, 0, 1, 1, 1]))


@dataclass(frozen=True)
class Spoken(InMemory):
    """Samples by speakers."""

    groups: tuple[int, ...] = ()

    def take(self, indices):
        return Spoken(self.x[indices], self.y[indices], tuple(np.asarray(self.groups)[indices].tolist()))


SETTINGS = {
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


def speakers(y, g):
    n = torch.arange(len(y))
    return Spoken(n[:, None, None, None].to(torch.uint8), torch.as_tensor(y), tuple(g))


@pytest.mark.parametrize("changes", [{}, {"labels": 8}, {"folds": 3, "fold": 2}, {"missing_values": 0.1}], ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_a_target_parts_no_group_into_training_validation_and_test(changes, seed):
    g = np.repeat(np.arange(12), 5)
    y = np.tile([0, 1], 30)
    parts = Target(Splits(speakers(y, g), None, ("a", "b")), **{**SETTINGS, **changes}).parts(seed)
    heard = [set(groups(part).tolist()) for part in (parts.train, parts.val, parts.test)]
    assert all(heard) and sum(map(len, heard)) == len(set().union(*heard))


def test_hidden_values_keep_the_groups():
    hidden = without_values(Splits(speakers([0, 1, 0], [4, 4, 7]), None, ("a", "b")), 0.5).train
    assert isinstance(hidden, Holed)
    assert groups(hidden).tolist() == [4, 4, 7]
    assert groups(hidden.take(torch.tensor([2, 0]))) is None  # of one sample each


@pytest.mark.parametrize("share", [0.1, 0.34, 0.5])
def test_groups_of_one_are_none(share):
    y = np.random.default_rng(0).integers(0, 3, 60)
    data = [speakers(y, range(60)), InMemory(speakers(y, range(60)).x, torch.as_tensor(y))]
    cut = [Target(Splits(one, None, tuple("abc")), **{**SETTINGS, "test": share}).parts(1) for one in data]
    for part in ("train", "val", "test"):
        assert torch.equal(getattr(cut[0], part).x, getattr(cut[1], part).x)
