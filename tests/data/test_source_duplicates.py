"""Test samples that the source has seen, counted in the record of a real run for each way of giving a source."""

import json
import wave
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from transferlab import cli
from transferlab.data.captions import Captions
from transferlab.data.duplicates import FILE, identities, seen_by, source_duplicates, write_seen
from transferlab.data.folder import image_folder
from transferlab.data.manifest import image_manifest
from transferlab.data.missing import without_values
from transferlab.data.ratings import ratings
from transferlab.data.samples import InMemory, Splits
from transferlab.data.series import gathered
from transferlab.data.sklearn_sets import sklearn_set
from transferlab.data.table_files import table
from transferlab.data.text import Corpus, Texts
from transferlab.data.tokens import Sentences, Tagged

ONCE = ["trainer.max_epochs=1", "trainer.accelerator=cpu", "tracker=none", "diagnostics=none", "batch_size=16"]
SOURCE = ["source.pretrain.max_epochs=1", "source.pretrain.batch_size=16"]
NET = ["backbone=gru", "backbone.hidden=4", "backbone.embedding=4", "input@backbone.input=words"]
SHARED = 3


def sentences(start: int, count: int) -> list[str]:
    return [f"film {number} : a plot , a hero" for number in range(start, start + count)]


def write(file: Path, texts: list[str]) -> Path:
    labels = ["good", "bad"] * (len(texts) // 2 + 1)
    pd.DataFrame({"text": texts, "label": labels[: len(texts)], "other": labels[1 : len(texts) + 1]}).to_csv(
        file, index=False
    )
    return file


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    """A source, and a target that tests on three of the source's sentences, as another set prints them."""
    known = sentences(0, 30)
    write(tmp_path / "source.csv", known)
    write(tmp_path / "train.csv", sentences(100, 16))
    again = [text.upper().replace(" , ", ",  ") + " " for text in known[:SHARED]]
    write(tmp_path / "test.csv", [*again, *sentences(200, 7)])
    return tmp_path


def target(here: Path, *words: str) -> list[str]:
    files = [f"target.data.path={here}/train.csv", f"target.data.test={here}/test.csv"]
    return ["train", *ONCE, *NET, "target=text_file", *files, f"paths.runs={here}/runs", *words]


def from_source(here: Path, *words: str) -> list[str]:
    # nothing is held out for a test of the source's own, so that all its sentences are trained or selected on
    test = ["source.pretrain.target.data.test=" + str(here / "train.csv")]
    path = [f"source.pretrain.target.data.path={here}/source.csv"]
    return target(here, "source=text_file", *SOURCE, *path, *test, *words)


def record(runs: Path, study: str = "default") -> dict:
    (file,) = (runs / study).glob("*/run.json")
    return json.loads(file.read_text())


def test_sentences_that_the_source_trained_on_are_counted_and_warned_of(reviews, capsys):
    assert cli.main(from_source(reviews)) == 0
    found = record(reviews / "runs")["data"]
    assert (found["source_duplicates"], found["duplicates"]) == (SHARED, 0)
    warned = [
        line for line in capsys.readouterr().err.splitlines() if "that the source or a teacher was trained" in line
    ]
    assert len(warned) == 1
    assert "3 of 10 test samples (30 %)" in warned[0]
    assert "test.csv, row 1 of the test split" in warned[0]


def test_a_source_without_digests_and_no_source_are_not_known(reviews, capsys):
    assert cli.main(from_source(reviews)) == 0
    (digests,) = (reviews / "runs" / "pretraining").glob(f"*/{FILE}")
    digests.unlink()  # as an earlier version left it
    for study, words in (("old", ["strategy=linear_probe"]), ("none", ["strategy=scratch"])):
        capsys.readouterr()
        assert cli.main(from_source(reviews, *words, f"study={study}")) == 0
        assert record(reviews / "runs", study)["data"]["source_duplicates"] is None
        assert "that the source or a teacher was trained" not in capsys.readouterr().err


def test_a_source_that_has_seen_none_counts_none(reviews):
    path = f"source.pretrain.target.data.path={write(reviews / 'other.csv', sentences(300, 30))}"
    assert cli.main(from_source(reviews, path)) == 0
    assert record(reviews / "runs")["data"]["source_duplicates"] == 0


def test_what_trains_beside_the_target_counts(reviews):
    assert cli.main(from_source(reviews, "strategy=joint", "strategy.start=random")) == 0
    assert record(reviews / "runs")["data"]["source_duplicates"] == SHARED


def test_what_the_source_of_a_source_has_seen_counts(reviews):
    assert (
        cli.main(from_source(reviews, "study=first", f"target.data.test={write(reviews / 'x.csv', ['a', 'b'])}")) == 0
    )
    (weights,) = (reviews / "runs" / "first").glob("*/selected.pt")
    assert cli.main(target(reviews, "source=checkpoint", f"source.weights={weights}", "study=second")) == 0
    assert record(reviews / "runs", "second")["data"]["source_duplicates"] == SHARED


def test_what_a_teacher_has_seen_counts(reviews):
    test = [f"target.data.path={reviews}/source.csv", f"target.data.test={reviews}/train.csv"]
    assert cli.main(target(reviews, "source=none", "strategy=scratch", "study=teacher", *test)) == 0
    (folder,) = (path.parent for path in (reviews / "runs" / "teacher").glob("*/selected.pt"))
    taught = [
        "strategy=kd",
        "+strategy/teacher@strategy.teachers.first=run",
        f"strategy.teachers.first.folder={folder}",
    ]
    assert cli.main(target(reviews, "source=none", *taught)) == 0
    assert record(reviews / "runs")["data"]["source_duplicates"] == SHARED


def test_one_table_with_another_column_of_labels_is_cut_elsewhere_and_counted(tmp_path, capsys):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(60, 2)), columns=["x", "y"])
    frame["a"], frame["b"] = rng.integers(0, 2, 60), rng.integers(0, 2, 60)
    frame.to_csv(tmp_path / "t.csv", index=False)
    net = ["backbone=mlp", "backbone.widths=[4]", "input@backbone.input=table", "backbone.input.shape=[3]"]
    told = [f"target.data.path={tmp_path}/t.csv", "target.data.label=a"]
    source = [f"source.pretrain.{word}" for word in (told[0], "target.data.label=b")]
    words = ["train", *ONCE, *SOURCE, *net, "target=table", "source=table", *told, *source]
    assert cli.main([*words, f"paths.runs={tmp_path}/runs"]) == 0
    # what a source trains on are 7 of 10 rows of each class, drawn without a look at the other labels
    train, test = (parts(tmp_path / "t.csv", label) for label in "ba")
    naive = len(set(train[0]) & set(test[1]))
    assert record(tmp_path / "runs")["data"]["source_duplicates"] == naive > 0
    assert f"{naive} of {len(test[1])} test samples" in capsys.readouterr().err


def parts(file: Path, label: str) -> tuple[list[int], list[int]]:
    """Rows of the file that train or select, and that test."""
    from transferlab.data.target import train_and_test

    cut = train_and_test(table(str(file), None, label, False, [], None, "mean", "none"), 0.3)
    train, test = ([int(row) for row in part.frame.index] for part in cut)
    return train, test


def test_a_set_with_prompts_is_the_set_without(tmp_path, capsys):
    for label in ("cat", "dog"):
        (tmp_path / "images" / label).mkdir(parents=True)
        for number in range(10):
            level = number + 100 * (label == "dog")
            Image.new("RGB", (8, 8), (level, 0, 0)).save(tmp_path / "images" / label / f"{number}.png")
    towers = ["backbone=two_tower", "backbone@backbone.image=convnet", "backbone.image.widths=[4]"]
    towers += ["backbone.image.input.shape=[3,8,8]", "backbone@backbone.text=gru", "backbone.text.hidden=4"]
    towers += ["backbone.text.embedding=4", "input@backbone.text.input=words", "backbone.text.input.buckets=50"]
    data = [f"target.data.of.data.root={tmp_path}/images", "target.data.of.data.train=null"]
    plain = [f"source.pretrain.target.data.root={tmp_path}/images", "source.pretrain.target.data.train=null"]
    words = ["train", *ONCE, *SOURCE, *towers, "task=prompted", "target=prompted", *data, "source=folder", *plain]
    assert cli.main([*words, "target.test=0.5", f"paths.runs={tmp_path}/runs"]) == 1
    assert "source.pretrain.target.test=0.3 must be target.test=0.5" in capsys.readouterr().err


def sounds(folder: Path, levels: range) -> Path:
    """Recordings by two speakers, one level each."""
    for level in levels:
        place = folder / "ab"[level % 2]
        place.mkdir(parents=True, exist_ok=True)
        with wave.open(str(place / f"{level}.wav"), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes(np.full(400, 100 * level + 1, "<i2").tobytes())
    return folder


def test_recordings_under_other_names_are_counted(tmp_path):
    folders = [sounds(tmp_path / name, levels) for name, levels in (("one", range(12)), ("two", range(8, 20)))]
    net = ["backbone=convnet", "backbone.widths=[4]", "input@backbone.input=log_mel", "backbone.input.seconds=0.05"]
    keys = ("root", "train", "test")
    told = [f"target.data.{key}={value}" for key, value in zip(keys, (folders[1], "null", "null"), strict=True)]
    source = [f"source.pretrain.{w}" for w in (f"target.data.root={folders[0]}", *told[1:], "target.validation=0.5")]
    words = ["train", *ONCE, *SOURCE, *net, "target=audio_folder", "source=audio_folder", *told, *source]
    assert cli.main([*words, f"paths.runs={tmp_path}/runs"]) == 0
    from transferlab.data.recordings import audio_folder
    from transferlab.data.target import train_and_test

    (train, _), (_, test) = (
        train_and_test(audio_folder(str(folder), None, None, True, None, "mix"), 0.3) for folder in folders
    )
    heard = [{Path(part.place(index)).name for index in range(len(part))} for part in (train, test)]
    assert record(tmp_path / "runs")["data"]["source_duplicates"] == len(heard[0] & heard[1])


def texts(*lines: str) -> Texts:
    return Texts.of(Corpus(lines, None, str, None), torch.zeros(len(lines)))


def memory(x: np.ndarray) -> InMemory:
    return InMemory(torch.from_numpy(x), torch.zeros(len(x)))


def known(a: object, b: object) -> list[bool]:
    return [bool(np.isin(row, identities(b)).any()) for row in identities(a)]


def test_one_sample_is_known_whoever_reads_it(tmp_path):
    for number in (0, 1):
        place = tmp_path / "images" / f"c{number}"
        place.mkdir(parents=True)
        Image.new("L", (4, 4), number).save(place / "i.png")
    (tmp_path / "m.csv").write_text("path,label\nc1/i.png,x\nc0/i.png,y\n")
    folder = image_folder(str(tmp_path / "images"), None, None, False).train
    listed = image_manifest(
        str(tmp_path / "m.csv"), str(tmp_path / "images"), "path", "label", False, None, None, True
    ).train
    assert (identities(folder) == identities(listed)[::-1]).all()
    assert known(Captions(folder, texts("a", "b")), listed) == [True, True]
    assert known(folder, Captions(listed.take(torch.tensor([0])), texts("c"))) == [False, True]

    steps = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    series = gathered(list(steps), torch.zeros(2), "refuse", ["a", "b"])
    assert known(series, memory(steps)) == [True, True]

    iris = sklearn_set("iris", None, 0.3, "mean", "none")
    cells = memory(iris.train.frame.to_numpy(np.float32))
    assert all(known(iris.train, cells))
    assert all(known(without_values(iris, 0.5).train, cells))  # what is hidden from a net was in its file

    words = Sentences([["The", "hero", "'s", "friend", "."]], str)
    assert known(Tagged(words, torch.arange(1), torch.zeros(1, 5)), texts("the hero's friend...")) == [True]
    assert known(texts("one", "!", "two"), texts("ONE", "?", "three")) == [True, False, False]


def test_ratings_are_known_by_names_and_not_by_their_rows(tmp_path):
    heard = []
    for name, rows in (("a", ["ann,x,1", "bob,y,2"]), ("b", ["bob,y,5", "ann,y,3", "ann,x,4"])):
        (tmp_path / f"{name}.csv").write_text("\n".join(["user,item,rating", *rows]) + "\n")
        read = ratings(str(tmp_path / f"{name}.csv"), "user", "item", "rating", None, 0.2, ",", True, [])
        heard.append(read.train)
    assert known(heard[1], heard[0]) == [True, False, True]
    assert known(heard[1].take(torch.tensor([2, 1])), heard[0]) == [True, False]


def test_what_is_kept_beside_weights_is_found_again(tmp_path):
    x = np.random.default_rng(0).integers(0, 3, (200, 3)).astype(np.float32)
    write_seen(tmp_path, [identities(memory(x[:50])), identities(memory(x[50:100]))])
    (tmp_path / "selected.pt").touch()
    seen = seen_by(str(tmp_path / "selected.pt"))
    naive = (x[100:, None] == x[None, :100]).all(-1).any(1).sum()
    assert source_duplicates(memory(x[100:]), seen) == naive > 0
    assert (tmp_path / FILE).stat().st_size == 8 * len(np.unique(x[:100], axis=0))


@pytest.mark.parametrize("weights", [None, "hub:somewhere", "torchvision:DEFAULT"])
def test_of_published_weights_nothing_is_known(weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_seen(tmp_path, [identities(memory(np.zeros((1, 2), np.float32)))])  # in the folder of the command by chance
    assert seen_by(weights) is None


def test_the_splits_of_a_hidden_set_are_known_by_what_was_read():
    data = Splits(memory(np.arange(8, dtype=np.float32).reshape(4, 1, 2)), None, ("a", "b"))
    assert all(known(without_values(data, 0.5).train, data.train))
