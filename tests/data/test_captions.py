import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from transferlab.data.captions import captions, prompted
from transferlab.data.prompts import sentences, spoken
from transferlab.data.samples import InMemory, Splits
from transferlab.data.target import Target, train_and_test
from transferlab.errors import InputError
from transferlab.folders import shipped
from transferlab.inputs.arrays import ArrayInput
from transferlab.inputs.pair import PairInput
from transferlab.inputs.text import TextInput

SETTINGS = {k: v for k, v in OmegaConf.load(shipped("conf") / "target" / "_labelled.yaml").items() if k != "_target_"}
INPUT = PairInput(ArrayInput.of(3, 4, 4), TextInput("words", 1000, 8))
ROWS = [("a.png", "a red field"), ("b.png", "a blue field"), ("a.png", "red, all of it")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, colour in (("a", 250), ("b", 10), ("c", 99)):
        Image.fromarray(np.full((4, 4, 3), colour, np.uint8)).save(tmp_path / f"{name}.png")
    return tmp_path


def write(folder, name, rows):
    file = folder / name
    if file.suffix == ".jsonl":
        lines = [json.dumps({"image": image, "text": text}) for image, text in rows]
    else:
        mark = "\t" if file.suffix == ".tsv" else ","
        lines = [f"image{mark}text", *(f'{image}{mark}"{text}"' for image, text in rows)]
    file.write_text("\n".join(lines) + "\n")
    return str(file)


def read(path, **changes):
    settings = {"test": None, "root": None, "image": "image", "text": "text", "encoding": "utf-8", "in_memory": False}
    return captions(path, **{**settings, "cache": None, **changes})


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl"])
@pytest.mark.parametrize("in_memory", [False, True])
def test_an_image_stands_beside_each_of_its_captions_under_one_label(folder, name, in_memory):
    held = write(folder, f"held.{name[2:]}", [("c.png", "grey")])
    splits = read(write(folder, name, ROWS), test=held, in_memory=in_memory)
    assert splits.train.y.tolist() == [0, 1, 0] and splits.classes == ()
    (images, texts), y = splits.train.prepared(INPUT)[[2, 1]]
    assert images[:, 0, 0, 0].tolist() == [250, 10] and y.tolist() == [0, 1]
    wanted = INPUT.second.ids(["red, all of it", "a blue field"])
    assert [row[mask].tolist() for row, mask in zip(texts.h, texts.mask, strict=True)] == [w.tolist() for w in wanted]


def test_a_part_holds_the_same_pairs(folder):
    whole = read(write(folder, "t.csv", ROWS), test=write(folder, "h.csv", [("c.png", "grey")])).train
    part = whole.take(torch.tensor([1, 2]))
    (images, _), y = part.prepared(INPUT)[[0, 1]]
    assert images[:, 0, 0, 0].tolist() == [10, 250] and y.tolist() == [1, 0]
    assert part.fingerprint() != whole.take(torch.tensor([0, 1])).fingerprint()
    assert part.fingerprint() == whole.take(torch.tensor([1, 2])).fingerprint()


@pytest.mark.parametrize("changes", [{}, {"validation": 0.34}, {"folds": 2, "fold": 1}], ids=str)
def test_captions_of_one_image_stay_together_in_every_cut(folder, changes):
    for name in "def":
        Image.fromarray(np.full((4, 4, 3), ord(name), np.uint8)).save(folder / f"{name}.png")
    rows = [(f"{name}.png", f"caption {number}") for number in range(3) for name in "abcdef"]
    splits = read(write(folder, "t.csv", rows))
    assert splits.test is None
    for seed in range(5):
        parts = Target(splits, **{**SETTINGS, **changes}).parts(seed)
        images = [set(part.y.tolist()) for part in (parts.train, parts.val, parts.test)]
        assert sum(map(len, images)) == len(set().union(*images)) == 6
        assert all(len(part) == 3 * len(of) for part, of in zip(vars(parts).values(), images, strict=False))


def test_one_caption_an_image_is_cut_as_samples_are(folder):
    splits = read(write(folder, "t.csv", [(f"{name}.png", name) for name in "abc"]))
    plain = InMemory(torch.arange(3.0)[:, None], torch.arange(3))
    for share in (0.3, 0.6):
        cut = [train_and_test(replace(splits, train=of), share)[1] for of in (splits.train, plain)]
        assert cut[0].y.tolist() == cut[1].y.tolist()


@pytest.mark.parametrize(
    ("rows", "changes", "said"),
    [
        (ROWS[:2], {"test": "t.csv"}, r"is in .* too; an image belongs to one split"),
        ([("z.png", "gone")], {}, r"t.csv, row 1: there is no image .*z.png"),
        ([("a.png", " ")], {}, r"row 1 has nothing in column 'text'"),
        ([], {}, "holds no captions"),
        (ROWS[:2], {"text": "txt"}, "did you mean 'text'"),
        (ROWS[:2], {"path": "none.csv"}, "there is no such file"),
        (ROWS[:2], {"path": "t.xlsx"}, "ends in .csv, .tsv or .jsonl"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(folder, rows, changes, said):
    written = write(folder, "t.csv", rows)
    files = {key: str(folder / value) for key, value in changes.items() if key in ("path", "test")}
    with pytest.raises(InputError, match=said):
        read(**{"path": written, **changes, **files})


def labelled(y=(0, 1, 1, 0), classes=("coffee_mug", "003.laptop")):
    x = torch.arange(4, dtype=torch.uint8)[:, None, None, None].expand(4, 3, 4, 4).contiguous()
    data = Splits(InMemory(x, torch.tensor(y)), None, classes)
    return Target(data, **SETTINGS)


def test_an_image_gets_a_prompt_of_its_class_and_keeps_its_label():
    splits = prompted(labelled(), ["a photo of a {}", "one {}"], {"003.laptop": "notebook"}, None)
    assert splits.train.texts.corpus.texts == [
        "a photo of a coffee mug",
        "one notebook",
        "a photo of a notebook",
        "one coffee mug",
    ]
    assert splits.train.y.tolist() == [0, 1, 1, 0] and splits.classes == ("coffee_mug", "003.laptop")
    (images, _), _ = splits.train.prepared(INPUT)[[3]]
    assert images.eq(3).all()


def test_names_are_said_as_words():
    assert spoken(["coffee_mug", "003.laptop", "T-shirt", "7"], {}) == ("coffee mug", "laptop", "T shirt", "7")
    assert spoken(["a", "b"], {"b": "bee"}) == ("a", "bee")
    assert sentences(["x", "y"], ["{} here", "no {}"]) == [["x here", "no x"], ["y here", "no y"]]


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda: spoken(["ants"], {"ant": "x"}), "did you mean 'ants'"),
        (lambda: sentences(["x"], ["a photo"]), "where a class's name stands"),
        (lambda: sentences(["x"], []), "where a class's name stands"),
        (lambda: prompted(labelled(y=(0.0, 1.0, 1.0, 0.0)), ["{}"], {}, None), "are none"),
        (lambda: labelled().data.train.prepared(INPUT), "the backbone takes pairs"),
        (
            lambda: prompted(labelled(), ["{}"], {}, None).train.prepared(INPUT.first),
            "the data are pairs of images and texts: choose backbone=two_tower",
        ),
    ],
)
def test_what_makes_no_prompts_is_said(act, said):
    with pytest.raises(InputError, match=said):
        act()
