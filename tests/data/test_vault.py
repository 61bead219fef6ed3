"""What a target hides is not in what it gives away, and source and target agree on the classes of their head."""

from dataclasses import fields, is_dataclass

import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from transferlab import feeding
from transferlab.data import duplicates, parallel, segmentation, tokens, vault
from transferlab.data.captions import Captions
from transferlab.data.masks import Masked
from transferlab.data.module import TransferData
from transferlab.data.parts import describe
from transferlab.data.samples import InMemory, Splits
from transferlab.data.target import Target
from transferlab.errors import InputError
from transferlab.folders import shipped
from transferlab.inputs.arrays import ArrayInput

NAMES = ("ant", "bee", "cat")
PLAIN = {k: v for k, v in OmegaConf.load(shipped("conf") / "target" / "_labelled.yaml").items() if k != "_target_"}
INPUT = ArrayInput(shape=(1,), mean=None, std=None, interpolation="bilinear", crop=None)


def samples(count, start=0):
    """Samples whose input is their own number, of classes in turn."""
    return InMemory(torch.arange(start, start + count).float()[:, None], torch.arange(count) % 3)


def target(count=60, **settings):
    return Target(Splits(samples(count), None, NAMES), **{**PLAIN, **settings})


def ids(part):
    return set() if part is None else set(part.x[:, 0].long().tolist())


def tensors(value):
    """Every tensor that can be reached."""
    if isinstance(value, torch.Tensor):
        yield value
    elif is_dataclass(value):
        for field in fields(value):
            yield from tensors(getattr(value, field.name))
    elif isinstance(value, dict | list | tuple):
        for one in value.values() if isinstance(value, dict) else value:
            yield from tensors(one)


def test_sealed_samples_hold_no_label_anywhere():
    sealed = vault.sealed(samples(9))
    assert sealed.y.shape == (9, 0) and vault.hidden(sealed.y)
    assert [t.numel() for t in tensors(sealed) if not t.is_floating_point()] == []
    x, y = sealed[[3, 4]]
    assert x[:, 0].tolist() == [3.0, 4.0] and y.shape == (2, 0)


MASKS = (torch.arange(4 * 8 * 8).reshape(4, 8, 8) % 3).to(torch.uint8)


def mask_files(folder):
    for kind, mode in (("images", "RGB"), ("masks", "L")):
        (folder / kind).mkdir()
        for number in range(4):
            Image.new(mode, (8, 8), number % 2).save(folder / kind / f"{number}.png")
    return segmentation.mask_folder(str(folder), None, None, ["one", "two"], False).train


def words_of(folder):
    (folder / "a.conll").write_text("\n\n".join(f"word{number} a\nother b" for number in range(4)))
    return tokens.conll(str(folder / "a.conll"), None, 0, -1, None, None, "utf-8").train


def pairs_of(folder):
    (folder / "a.tsv").write_text("one\ttwo\n" + "\n".join(f"read{number}\twritten" for number in range(4)))
    return parallel.parallel_text(str(folder / "a.tsv"), None, "one", "two", "utf-8", None).train


OF_PLACES = {
    "masks": lambda folder: Masked(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), MASKS),
    "mask files": mask_files,
    "boxes": lambda folder: InMemory(torch.zeros(4, 1, 8, 8), torch.rand(4, 3, 5)),
    "words": words_of,
    "texts to be written": pairs_of,
}


@pytest.mark.parametrize("kind", OF_PLACES)
def test_labels_of_places_are_hidden_too(kind, tmp_path):
    open_ones = OF_PLACES[kind](tmp_path)
    sealed = vault.sealed(open_ones)
    assert len(sealed) == 4 and vault.hidden(sealed.y) and vault.hidden(sealed.take(torch.tensor([2, 0])).y)
    labels = [one for one in tensors(open_ones.y) if one.numel()]
    assert labels and not any(
        one.shape == label.shape and torch.equal(one.to(label), label) for one in tensors(sealed) for label in labels
    )
    assert not hasattr(sealed, "masks") and not hasattr(sealed, "targets")
    assert vault.sealed(sealed).fingerprint() == sealed.fingerprint() != open_ones.fingerprint()


def test_images_with_texts_have_nothing_to_hide():
    with pytest.raises(InputError, match="learned in pairs"):
        vault.sealed(Captions(samples(4), samples(4)))


def test_classes_of_places_are_not_renumbered():
    masked = Masked(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), MASKS)
    assert vault.numbered(masked, NAMES, NAMES) is masked is vault.known(masked, NAMES, NAMES)
    for renumber in (
        lambda: vault.numbered(masked, NAMES, NAMES[::-1]),
        lambda: vault.known(masked, NAMES, NAMES[:2]),
    ):
        with pytest.raises(InputError, match="stay as they are read, but their classes differ"):
            renumber()


def test_without_labels_all_training_samples_are_hidden_and_none_selects():
    parts = target(labels="none").parts(0)
    labelled = target().parts(0)
    assert len(parts.train) == 0 and parts.val is None and parts.labels_seen == 0
    everything = ids(labelled.train) | ids(labelled.val) | ids(labelled.test)
    assert not ids(parts.test) & ids(parts.unlabeled)
    assert ids(parts.test) | ids(parts.unlabeled) == everything
    assert len(parts.test) == len(labelled.test)
    assert describe(parts)["sizes"] == {"test": len(parts.test), "unlabeled": len(parts.unlabeled)}


def test_the_fingerprint_of_what_is_hidden_does_not_depend_on_labels():
    other = Splits(samples(60), samples(9, 100), NAMES)
    noise = Splits(other.train.relabelled(torch.zeros(60).long()), other.test, NAMES)
    told = [describe(Target(one, **{**PLAIN, "labels": "none"}).parts(0))["fingerprints"] for one in (other, noise)]
    assert told[0] == told[1]


def test_beyond_the_budget_the_rest_is_hidden():
    parts = target(labels=5).parts(0, unlabeled=True)
    assert len(parts.train) + len(parts.val) == 15
    assert not ids(parts.unlabeled) & (ids(parts.train) | ids(parts.val) | ids(parts.test))
    assert len(parts.unlabeled) + 15 + len(parts.test) == 60
    assert target(labels=5).parts(0).unlabeled is None  # nobody asked


def test_where_all_labels_are_seen_the_same_samples_come_without():
    parts = target().parts(0, unlabeled=True)
    assert ids(parts.unlabeled) == ids(parts.train)
    assert vault.hidden(parts.unlabeled.y)


def test_a_transductive_target_tests_on_what_it_hides():
    parts = target(labels="none", test="all").parts(0)
    assert ids(parts.test) == ids(parts.unlabeled) == set(range(60))
    few = target(labels=4, test="all").parts(0, unlabeled=True)
    assert ids(few.test) == ids(few.unlabeled) == set(range(60)) - ids(few.train) - ids(few.val)


def test_unused_labels_are_hidden_and_those_held_out_go_on_selecting():
    parts = target(labels=10).parts(0)
    without = parts.without_labels()
    assert len(without.train) == 0 and without.val is parts.val
    assert ids(without.unlabeled) == ids(parts.train)


# source and target


def test_classes_are_matched_by_name():
    assert vault.classes(("b", "a"), ("a", "b"), "same") == ("a", "b")
    assert vault.classes(("c", "a", "b"), ("b", "a"), "partial") == ("c", "a", "b")
    assert vault.classes(("c", "a", "b"), ("x", "b", "a", "y"), "open") == ("a", "b", "unknown")


@pytest.mark.parametrize(
    ("source", "target", "space", "said"),
    [
        (("a", "b", "c"), ("a", "b"), "same", "the source alone has 'c'"),
        (("a", "b"), ("a", "x"), "same", "the source alone has 'b' and the target alone has 'x'"),
        (("a", "b"), ("a", "x"), "partial", "the target alone has 'x'"),
        (("a", "b"), ("x", "y"), "open", "the source alone has 'a', 'b' and the target alone has 'x', 'y'"),
        (tuple("abcdefgh"), ("a",), "same", "'b', 'c', 'd', 'e', 'f' and 2 more"),
    ],
)
def test_what_does_not_match_is_named(source, target, space, said):
    with pytest.raises(InputError, match=said):
        vault.classes(source, target, space)


def shared(space, mine, theirs):
    """What `sharing` makes of labels: of the target's test samples and of the source's, by name."""
    parts = Target(Splits(samples(30), samples(9, 100), mine), **{**PLAIN, "label_space": space}).parts(0)
    source = Splits(samples(12, 200), samples(6, 300), theirs)
    found, cut = feeding.sharing(parts, source, space)
    named = [[found.classes[label] for label in part.y] for part in (found.test, found.train, cut.train, cut.test)]
    return parts, source, named, cut


def test_labels_go_along_with_the_classes_of_the_head():
    parts, source, (test, train, ours, held), cut = shared("same", NAMES, ("cat", "ant", "bee"))
    assert test == [NAMES[label] for label in parts.test.y] and train == [NAMES[label] for label in parts.train.y]
    assert ours == [("cat", "ant", "bee")[label] for label in source.train.y]
    assert held == [("cat", "ant", "bee")[label] for label in source.test.y] and cut.classes == NAMES


def test_an_open_target_has_a_class_for_what_the_source_lacks():
    parts, source, (test, train, ours, _), cut = shared("open", NAMES, ("bee", "dog", "ant"))

    def known(name):
        return name if name in ("ant", "bee") else "unknown"

    assert test == [known(NAMES[label]) for label in parts.test.y]
    assert train == [known(NAMES[label]) for label in parts.train.y]
    # of the source's samples those that the target cannot have are left out
    assert ours == [name for name in (("bee", "dog", "ant")[label] for label in source.train.y) if name != "dog"]
    assert cut.classes == ("bee", "ant", "unknown")


def test_a_source_that_shows_what_is_hidden_is_refused():
    hidden = vault.sealed(samples(20))
    with pytest.raises(InputError, match="12 of 20 target samples whose labels are hidden"):
        duplicates.check_hidden(hidden, duplicates.identities(samples(12)))


def test_a_source_that_shows_a_few_is_warned_of(caplog):
    duplicates.check_hidden(vault.sealed(samples(20)), duplicates.identities(samples(3)))
    assert "3 of 20 target samples whose labels are hidden" in caplog.text
    caplog.clear()
    duplicates.check_hidden(vault.sealed(samples(20)), duplicates.identities(samples(3, 50)))
    duplicates.check_hidden(vault.sealed(samples(20)))
    assert not caplog.text


# batches


def data(reads, **settings):
    parts = target(90, **settings).parts(0, "unlabeled" in reads)
    source = Splits(samples(40, 1000), samples(6, 2000), NAMES)
    return TransferData(parts, source, frozenset({"target", *reads}), INPUT, False, 8, 0, 0)


def epoch(module):
    loaders = module.train_dataloader()
    for loader in loaders.flattened:
        loader.sampler.set_epoch(0)
    return [module.on_after_batch_transfer(batch, index) for batch, index, _ in loaders]


def test_an_epoch_is_a_pass_over_the_inputs_without_labels():
    module = data({"unlabeled", "source"}, labels="none")
    batches = epoch(module)
    assert [list(batch) for batch in batches] == [["unlabeled", "source"]] * len(batches)
    seen = [int(x) for batch in batches for x in batch["unlabeled"][0]]
    assert sorted(seen) == sorted(ids(module.sets.unlabeled)) and len(seen) == 63
    assert all(batch["unlabeled"][1].shape[1] == 0 for batch in batches)


def test_few_labels_flow_beside_them():
    module = data({"unlabeled", "source"}, labels=4)
    batches = epoch(module)
    assert list(batches[0]) == ["target", "unlabeled", "source"]
    assert {int(x) for batch in batches for x in batch["target"][0]} == ids(module.sets.train)
    assert sum(len(batch["unlabeled"][1]) for batch in batches) == 63 - 12


def test_who_reads_no_target_takes_as_many_steps():
    alone, adapting = data({"source"}, labels="none"), data({"unlabeled", "source"}, labels="none")
    assert [list(batch) for batch in epoch(alone)] == [["source"]] * len(epoch(adapting))


def test_rules_look_at_no_label_of_the_target():
    module = data({"source"}, labels="none")
    (batch,) = module.shown("inputs", 10)
    assert batch[0].shape == (10, 1) and batch[1].shape == (10, 0)
    assert sum(len(y) for _, y in module.shown("held", 100)) == 6
    assert list(data({"unlabeled"}, labels=5).shown("held", 5)) == []
