import json

import pytest
import torch

from transferlab.data.parallel import IGNORED, Parallel, ended, parallel_text
from transferlab.data.text import Corpus
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.inputs.text import TextInput

INPUT = TextInput("words", 1000, 6)
PAIRS = [("ein Hund", "a dog"), ("Katzen", "cats"), ("viele Tage", "a b c d e f g h")]


def write(path, rows=PAIRS, columns=("source", "target")):
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in rows))
    else:
        separator = "\t" if path.suffix == ".tsv" else ","
        path.write_text("".join(separator.join(row) + "\n" for row in [columns, *rows]))
    return str(path)


def read(path, test=None, source="source", target="target"):
    return parallel_text(path, test, source, target, "utf-8", None)


def samples():
    corpora = [Corpus(list(texts), None, str, None) for texts in zip(*PAIRS, strict=True)]
    return Parallel(*corpora, torch.arange(3), torch.arange(3)[:, None])


@pytest.mark.parametrize("suffix", [".tsv", ".csv", ".jsonl"])
def test_a_table_gives_what_is_read_and_what_is_to_be_written(tmp_path, suffix):
    splits = read(write(tmp_path / f"pairs{suffix}"))
    assert list(zip(splits.train.sources.texts, splits.train.targets.texts, strict=True)) == PAIRS
    assert splits.test is None
    assert splits.classes == ()


def test_labels_are_the_ids_of_the_target_with_an_end_and_ignored_behind_it():
    ready = samples().prepared(INPUT)
    value, y = ready[[0, 1]]
    dog, cats = INPUT.ids(["a dog", "cats"])
    assert y.tolist() == [
        [*dog.tolist(), INPUT.end, *[IGNORED] * 3],
        [*cats.tolist(), INPUT.end, *[IGNORED] * 4],
    ]
    assert value.h[0].tolist() == INPUT.ids(["ein Hund"])[0].tolist()


def test_a_target_that_is_cut_still_has_its_end():
    _, y = samples().prepared(INPUT)[[2]]
    assert y[0].tolist() == [*INPUT.ids(["a b c d e"])[0].tolist(), INPUT.end]


def test_an_end_that_the_tokenizer_sets_is_not_set_again():
    assert ended(torch.tensor([3, INPUT.end]), INPUT).tolist() == [3, INPUT.end]


def test_parts_keep_their_own_pairs():
    part = samples().take(torch.tensor([2, 0]))
    value, y = part.prepared(INPUT)[[1]]
    whole, expected = samples().prepared(INPUT)[[0]]
    assert value.h.tolist() == whole.h.tolist()
    assert y.tolist() == expected.tolist()
    exchanged = part.relabelled(torch.tensor([[0], [2]])).prepared(INPUT)[[0]][1]
    assert exchanged.tolist() == expected.tolist()


def test_fingerprints_tell_pairs_and_their_order_apart():
    whole = samples()
    others = [whole.take(torch.tensor([1, 0, 2])), whole.relabelled(torch.tensor([[1], [0], [2]])), samples()]
    assert len({one.fingerprint() for one in (whole, *others)}) == 3
    assert whole.take(torch.tensor([1])).digests() == whole.digests()[1:2]


@pytest.mark.parametrize(
    ("rows", "columns", "sentence"),
    [
        ([("a", "b"), ("", "c")], ("source", "target"), "row 2 has nothing in column 'source'"),
        ([("a", "b"), ("c", " ")], ("source", "target"), "row 2 has an empty text in column 'target'"),
        (PAIRS, ("source", "english"), "no column of .* 'target'"),
        ([], ("source", "target"), "holds no texts"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(tmp_path, rows, columns, sentence):
    with pytest.raises(InputError, match=sentence):
        read(write(tmp_path / "pairs.tsv", rows, columns))


def test_images_are_refused_with_a_choice():
    with pytest.raises(InputError, match=r"takes images, the data are texts: choose .*backbone=t5"):
        samples().prepared(ArrayInput.of(3, 8, 8))
