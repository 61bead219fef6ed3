"""Labels of pixels, boxes and words that a target hides change nothing of a training, bit for bit.

As in `test_hidden_labels`, of which this is the other half: each pair of a task and a strategy of adaptation that it
is for runs twice, with the labels as they are and with others in their place.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cells
import numpy as np
import pytest
import sets
from PIL import Image
from test_hidden_labels import RULES, same_training

from transferlab import results, train
from transferlab.data import labels

pytestmark = pytest.mark.slow
NETS = {"segmentation": ("convnet", "images"), "detection": ("convnet", "images")}
NETS["token_classification"] = ("bilstm", "texts")


def cell_of(task: str, strategy: str) -> cells.Cell:
    """On a convnet or, for words, an LSTM."""
    found = (cell for cell in cells.cells() if (cell.task, cell.strategy) == (task, strategy))
    return next(cell for cell in found if (cell.family.member, cell.family.kind) == NETS[task])


PAIRS = [
    (task, strategy)
    for task in NETS
    for strategy in (*cells.ADAPTS_FEATURES, *cells.BY_PLACE)
    if cells.gap(cell_of(task, strategy)) is None
]


def relabel(cell: cells.Cell, folder: Path, but: tuple[int, ...] = ()) -> None:
    """Give the target's training samples, all but some, other labels than they have."""
    place, rng = folder / f"{cell.family.kind}-{cell.task}", np.random.default_rng(7)
    if cell.task == "token_classification":
        file = place / "tagged.conll"
        sentences = file.read_text().strip().split("\n\n")
        told = {number: sentence for number, sentence in enumerate(sentences)}
        for number in set(told) - set(but):
            rows = [line.split("\t")[0] for line in told[number].split("\n")]
            told[number] = "\n".join(f"{word}\t{rng.choice(['verb', 'other'])}" for word in rows)
        file.write_text("\n\n".join(told.values()) + "\n")
        return
    (file,) = place.glob("*.npz")
    with np.load(file) as held:
        arrays = dict(held)
    y = arrays["y_train"].copy()
    others = [number for number in range(len(y)) if number not in but]
    if cell.task == "detection":
        y[others, :, 0] = 1 - y[others, :, 0]
        y[others, :, 1:] = y[others][:, :, [2, 1, 4, 3]]
    else:
        y[others] = rng.integers(0, 2, y[others].shape)
    assert not np.array_equal(y, arrays["y_train"])
    np.savez(file, **{**arrays, "y_train": y})


def run(
    cell: cells.Cell, folder: Path, study: str, *more: str, change: Callable[[], None] = lambda: None
) -> tuple[dict[str, Any], Path]:
    """A run's record and folder; `change` does something to the files that were just made for it."""
    rules = ("selection=last", "oracle=true") if cell.task == "detection" else RULES
    config = cells.composed([*cells.command(cell, folder, "trainer.max_epochs=2", f"study={study}", *rules), *more])
    change()
    return train.run(config), results.folder(config)


@pytest.mark.parametrize(("task", "strategy"), cells.drawn(3, PAIRS))
def test_hidden_labels_of_places_change_nothing(task, strategy, folder, monkeypatch):
    monkeypatch.chdir(folder)
    cell = cell_of(task, strategy)
    true = run(cell, folder, "true")
    noisy = run(cell, folder, "noisy", change=lambda: relabel(cell, folder))
    same_training(true, noisy)
    assert true[0]["data"]["fingerprints"]["unlabeled"] == noisy[0]["data"]["fingerprints"]["unlabeled"]
    if task == "token_classification":  # its test split is cut from these, and is scored by other labels now
        assert true[0]["metrics"]["last"]["test/loss"] != noisy[0]["metrics"]["last"]["test/loss"]
    else:
        assert true[0]["metrics"] == noisy[0]["metrics"]
        # the rules look at pixels, of which the target's are unlabelled
        assert (task == "detection") == ("infomax" not in true[0]["rules"])


@pytest.mark.parametrize("task", cells.drawn(1, sorted(NETS)))
def test_labels_of_places_beyond_the_budget_change_nothing(task, folder, monkeypatch):
    monkeypatch.chdir(folder)
    cell, seen = cell_of(task, "source_only" if task == "detection" else "entropy"), (0, 1, 2, 3)
    monkeypatch.setattr(labels, "seen", lambda y, *rest: np.array(seen))
    files = sets.MAKERS[(cell.family.kind, task)]
    more = ["target.labels=4", "target.validation=0.5", "selection=target_val"]
    if task == "token_classification":  # a test file, so that what is seen are the first sentences
        (folder / "held").mkdir()
        more.append(f"+target.data.test={files(task, folder / 'held', sets.draw(3)).keys['path']}")
    true = run(cell, folder, "seen", *more)
    noisy = run(cell, folder, "beyond", *more, change=lambda: relabel(cell, folder, but=seen))
    same_training(true, noisy)
    assert true[0]["data"]["labels_seen"] == 4 and true[0]["metrics"] == noisy[0]["metrics"]


def test_hidden_masks_in_files_are_not_read_by_a_training(folder, monkeypatch):
    """Once they are known to be there and of the right size: a mask that changes then changes nothing."""
    monkeypatch.chdir(folder)
    cell, rng = cell_of("segmentation", "entropy"), np.random.default_rng(0)
    for part in ("train", "test"):
        for kind, shape in (("images", (32, 32, 3)), ("masks", (32, 32))):
            (folder / "set" / part / kind).mkdir(parents=True)
            for number in range(12):
                content = rng.integers(0, 2 if kind == "masks" else 256, shape, dtype=np.uint8)
                Image.fromarray(content).save(folder / "set" / part / kind / f"{number}.png")
    keys = {"root": str(folder / "set"), "train": "train", "test": "test", "classes": "[first,second]"}
    words = sets.Set("mask_folder", keys).as_target()
    monkeypatch.setattr(sets.Set, "as_target", lambda made: words)
    runs = []
    for study in ("true", "noisy"):
        runs.append(run(cell, folder, study))
        for file in (folder / "set" / "train" / "masks").iterdir():
            Image.fromarray(rng.integers(0, 2, (32, 32), dtype=np.uint8)).save(file)
    same_training(*runs)
    assert runs[0][0]["metrics"] == runs[1][0]["metrics"]
