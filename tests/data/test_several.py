import json

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from transferlab import cli
from transferlab.data import duplicates
from transferlab.data.ragged import Ragged
from transferlab.data.samples import InMemory, Splits
from transferlab.data.several import Joined, several
from transferlab.data.target import Target
from transferlab.errors import InputError
from transferlab.folders import shipped

PLAIN = {k: v for k, v in OmegaConf.load(shipped("conf") / "target" / "_labelled.yaml").items() if k != "_target_"}


def numbered(count, start, classes=("a", "b"), test=None):
    """Samples whose input is their own number, of classes in turn."""
    x = torch.arange(start, start + count).float()[:, None]
    held = (
        None
        if test is None
        else InMemory(torch.arange(start, start + test).float()[:, None] + 0.5, torch.arange(test) % 2)
    )
    return Target(Splits(InMemory(x, torch.arange(count) % 2), held, classes), **PLAIN)


def ids(samples):
    return samples[range(len(samples))][0][:, 0].tolist()


def test_samples_and_labels_stay_together_whatever_the_order():
    joined = several({"one": numbered(7, 0), "two": numbered(5, 100, ("b", "a"))}, {}).train
    assert ids(joined) == [*range(7), *range(100, 105)]
    truth = {**{n: n % 2 for n in range(7)}, **{100 + n: 1 - n % 2 for n in range(5)}}  # the second has b first
    for indices in ([11, 0, 6, 7], [3], list(np.random.default_rng(0).permutation(12))):
        x, y = joined[indices]
        assert x[:, 0].tolist() == [ids(joined)[i] for i in indices]
        assert y.tolist() == [truth[int(number)] for number in x[:, 0]]


def test_a_share_is_in_proportion_to_samples_times_weight():
    train = several({"one": numbered(40, 0), "two": numbered(20, 100)}, {"two": 2}).train
    drawn = np.array(ids(train))
    assert len(drawn) == 60 and (drawn >= 100).sum() == 30
    counts = [np.bincount(part.astype(int)) for part in (drawn[drawn < 100], drawn[drawn >= 100] - 100)]
    assert counts[0].max() == 1 and set(counts[1]) == {1, 2}  # as often as another, give or take one


def test_no_sample_that_comes_several_times_is_on_both_sides_of_a_cut():
    data = several({"one": numbered(40, 0), "two": numbered(20, 100)}, {"two": 2})
    parts = Target(data, **{**PLAIN, "validation": 0.3}).parts(0)
    sides = [set(ids(part)) for part in (parts.train, parts.val, parts.test)]
    assert sum(map(len, sides)) == len(set.union(*sides)) and all(sides)
    assert max(np.bincount(np.array(ids(parts.train)).astype(int))) > 1


def test_a_test_split_is_that_of_all_or_none():
    both = several({"one": numbered(4, 0, test=2), "two": numbered(4, 100, test=3)}, {})
    assert ids(both.test) == [0.5, 1.5, 100.5, 101.5, 102.5]
    assert several({"one": numbered(4, 0, test=2), "two": numbered(4, 100)}, {}).test is None


def test_taken_and_relabelled_samples_are_the_same_ones():
    joined = several({"one": numbered(7, 0), "two": numbered(5, 100)}, {}).train
    some = joined.take(torch.tensor([10, 2]))
    assert ids(some) == [103.0, 2.0] and some.y.tolist() == [1, 0]
    assert some.relabelled(torch.tensor([5, 6]))[[1]][1].tolist() == [6]
    assert joined.fingerprint() != joined.relabelled(1 - joined.y).fingerprint() != some.fingerprint()


def test_they_are_known_as_they_are_in_their_own_sets():
    one, two = numbered(7, 0), numbered(5, 100)
    joined = several({"one": one, "two": two}, {}).train.take(torch.tensor([8, 1]))
    assert duplicates.digests(joined) == [duplicates.digests(two.data.train)[1], duplicates.digests(one.data.train)[1]]
    assert duplicates.source_duplicates(joined, duplicates.identities(two.data.train)) == 1


def test_sequences_are_padded_to_the_longest():
    def sounds(lengths, first):
        steps = torch.arange(first, first + sum(lengths)).float()[:, None]
        return Ragged(steps, torch.tensor(lengths), torch.zeros(len(lengths), 0))

    parts = (sounds([3, 2], 0), sounds([5, 1], 100))
    joined = Joined(parts, torch.arange(4), torch.zeros(4).long())
    x, _ = joined[[2, 0]]
    alone = parts[1][[0]][0], parts[0][[0]][0]
    assert x.h.shape[:2] == (2, 5) and x.mask.sum(1).tolist() == [5, 3]
    assert torch.equal(x.h[0][x.mask[0]], alone[0].h[0]) and torch.equal(x.h[1][x.mask[1]], alone[1].h[0])


@pytest.mark.parametrize(
    ("of", "weights", "said"),
    [
        ({"one": numbered(4, 0)}, {}, "two sets or more"),
        ({"one": numbered(4, 0), "two": numbered(4, 9, ("a", "c"))}, {}, "alone has 'c'"),
        ({"one": numbered(4, 0), "two": numbered(4, 9)}, {"tow": 1}, "did you mean 'two'"),
        ({"one": numbered(4, 0), "two": numbered(4, 9)}, {"two": 0}, "a number above 0"),
    ],
)
def test_what_cannot_be_joined_is_named(of, weights, said):
    with pytest.raises(InputError, match=said):
        several(of, weights)


def test_shapes_that_differ_are_named():
    joined = Joined(
        (InMemory(torch.zeros(2, 3), torch.zeros(2, 0)), InMemory(torch.zeros(2, 4), torch.zeros(2, 0))),
        torch.arange(4),
        torch.zeros(4).long(),
    )
    with pytest.raises(InputError, match=r"\(3,\) and \(4,\)"):
        joined[[0, 3]]


def test_a_run_learns_from_several_sources(tmp_path):
    for name, seed in (("one", 0), ("two", 1), ("target", 2)):
        x = np.random.default_rng(seed).integers(0, 256, (24, 8, 8, 1), dtype=np.uint8)
        y = np.arange(24) % 2
        np.savez(tmp_path / f"{name}.npz", x_train=x, y_train=y, x_test=x[:9], y_test=y[:9])
    of = "source.pretrain.target.data.of"
    words = [
        "source=several",
        f"+target@{of}.one=npz",
        f"+target@{of}.two=npz",
        f"{of}.one.data.path={tmp_path}/one.npz",
    ]
    words += [f"{of}.two.data.path={tmp_path}/two.npz", "+source.pretrain.target.data.weights.one=3"]
    words += ["source.pretrain.max_epochs=1", "target=npz", f"target.data.path={tmp_path}/target.npz"]
    words += ["target.labels=none", "strategy=dan", "selection=source_val", "backbone=convnet", "backbone.widths=[4,6]"]
    words += [
        "backbone.input.shape=[1,8,8]",
        "tracker=none",
        "batch_size=8",
        "trainer.max_epochs=1",
        "diagnostics=none",
    ]
    assert cli.main(["train", *words, "trainer.accelerator=cpu", f"paths.runs={tmp_path / 'runs'}"]) == 0
    (file,) = (tmp_path / "runs" / "default").glob("*/run.json")
    assert json.loads(file.read_text())["data"]["source_sizes"] == {"train": 48, "held": 18}
