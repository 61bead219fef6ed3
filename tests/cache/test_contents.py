"""Images whose hashes are kept are known without opening them, as long as they are as they were."""

import os
import sqlite3
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from records import alike, whole
from transferlab import cli
from transferlab.cache import contents

_opened: list[str] | None = None


def _listen(event: str, given: tuple) -> None:
    if _opened is not None and event == "open" and str(given[0]).endswith(".png"):
        _opened.append(str(given[0]))


sys.addaudithook(_listen)


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(contents, "_SETTLED", 0.0)
    draw = np.random.default_rng(0)
    for part in ("train", "test"):
        for label in ("a", "b"):
            Path("photographs", part, label).mkdir(parents=True)
            for number in range(5):
                picture(Path("photographs", part, label, f"{number}.png"), draw)
    return tmp_path


def picture(file, draw) -> None:
    pixels = draw.integers(0, 255, (9, 9, 3), np.uint8)
    Image.fromarray(pixels).save(file, compress_level=0)  # all of one size


def run(study, monkeypatch, *more):
    """The records of a command in a process that knows no file yet, and the images that it opened."""
    global _opened
    monkeypatch.setattr(contents, "_here", {})
    words = ["strategy=linear_probe", "source=none", "strategy.start=random", "target=folder", "cache=on"]
    words += ["target.data.root=photographs", "backbone.widths=[4,8]", "backbone.input.shape=[3,8,8]", "batch_size=4"]
    words += ["target.validation=0.2", "trainer.max_epochs=2", "trainer.accelerator=cpu", "tracker=none"]
    words += ["diagnostics=none", "oracle=true", f"study={study}"]
    _opened = []
    try:
        assert cli.main(["train", *words, *more]) == 0
        return [whole(file) for file in sorted(Path("runs", study).glob("*/run.json"))], _opened
    finally:
        _opened = None


TOGETHER = ("-m", "hydra/launcher=vectorized", "optimizer.lr=0.01,0.1", "seed=0,1")


@pytest.mark.parametrize("more", [(), TOGETHER], ids=["alone", "together"])
def test_a_second_sweep_opens_no_image_and_says_the_same(monkeypatch, more):
    first, read = run("first", monkeypatch, *more)
    assert len(set(read)) == 20
    second, read = run("second", monkeypatch, *more)
    assert not read
    assert len(first) == len(second) == (4 if more else 1)
    for one, other in zip(first, second, strict=True):
        alike(one, other)
        assert one["data"]["fingerprints"] == other["data"]["fingerprints"]


def test_an_image_that_changes_is_noticed_though_its_size_and_its_date_are_kept(monkeypatch):
    (first,), _ = run("first", monkeypatch)
    file = Path("photographs/train/a/3.png")
    before = file.stat()
    picture(file, np.random.default_rng(7))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    (second,), read = run("second", monkeypatch)
    assert {Path(one).resolve() for one in read} == {file.resolve()}
    assert first["data"]["fingerprints"] != second["data"]["fingerprints"]


def test_a_poisoned_entry_is_said_and_its_file_read(monkeypatch, capfd):
    (first,), _ = run("first", monkeypatch)
    with sqlite3.connect("cache/contents.sqlite") as book:
        book.execute("UPDATE contents SET digest = zeroblob(16) WHERE path LIKE '%train/a/2.png'")
    (second,), read = run("second", monkeypatch)
    assert "train/a/2.png: the file is read anew" in capfd.readouterr().err
    assert {Path(one).name for one in read} == {"2.png"}
    assert first["data"]["fingerprints"] == second["data"]["fingerprints"]
    assert not run("third", monkeypatch)[1]


@pytest.mark.parametrize("wreck", [b"no book at all", b""], ids=["another file", "empty"])
def test_a_file_that_is_no_book_is_done_without(monkeypatch, wreck):
    run("first", monkeypatch)
    Path("cache/contents.sqlite").write_bytes(wreck)
    assert len(set(run("second", monkeypatch)[1])) == 20
    assert not run("third", monkeypatch)[1]


@pytest.mark.parametrize("words", [("cache.files=false",), ("cache=off",)])
def test_who_does_not_want_it_reads_every_image(monkeypatch, words):
    run("first", monkeypatch, *words)
    assert not Path("cache/contents.sqlite").exists()
    assert len(set(run("second", monkeypatch, *words)[1])) == 20


def test_what_has_just_changed_is_not_kept_and_clearing_the_cache_forgets_all(monkeypatch):
    monkeypatch.setattr(contents, "_SETTLED", 3600.0)
    run("first", monkeypatch)
    assert len(set(run("second", monkeypatch)[1])) == 20
    monkeypatch.setattr(contents, "_SETTLED", 0.0)
    run("third", monkeypatch)
    assert cli.main(["cache", "clear"]) == 0
    assert len(set(run("fourth", monkeypatch)[1])) == 20
