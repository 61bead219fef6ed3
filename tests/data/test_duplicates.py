import logging

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from transferlab.data.cells import as_words
from transferlab.data.duplicates import digests, duplicates
from transferlab.data.folder import image_folder
from transferlab.data.masks import Masked
from transferlab.data.parts import Parts, describe
from transferlab.data.ragged import Ragged
from transferlab.data.samples import InMemory
from transferlab.data.tables import Encoding, Table


def arrays(*rows):
    return InMemory(torch.tensor(rows, dtype=torch.float32)[:, None], torch.arange(len(rows)))


def images(*levels):
    x = torch.tensor(levels, dtype=torch.uint8).reshape(-1, 1, 1, 1).expand(-1, 1, 4, 4).contiguous()
    return InMemory(x, torch.arange(len(levels)))


def masks(*levels):
    return Masked(images(*levels).x, torch.zeros(len(levels), 4, 4, dtype=torch.uint8))


def series(*levels):
    # each as long as its number, so that padding differs between batches
    return Ragged.of([torch.full((int(level) + 1, 2), float(level)) for level in levels], torch.arange(len(levels)))


def table(*levels):
    frame = pd.DataFrame({"size": np.array(levels, dtype=float), "colour": as_words(pd.Series(["red"] * len(levels)))})
    return Table(frame, torch.arange(len(levels)), Encoding("mean", "none", {}))


@pytest.mark.parametrize("samples", [arrays, images, masks, series, table], ids=lambda kind: kind.__name__)
def test_equal_inputs_are_counted_whatever_their_labels(samples, caplog):
    assert duplicates(samples(7, 1, 8, 1), samples(5, 1), samples(8, 2)) == 3
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "3 of 4 test samples" in caplog.text
    assert duplicates(samples(7, 9), samples(5, 1)) == 0
    assert len(caplog.records) == 1


def test_the_count_is_that_of_pairwise_comparison():
    draw = torch.Generator().manual_seed(0)
    train, test = (InMemory(torch.randint(0, 3, (300, 4), generator=draw), torch.zeros(300)) for _ in range(2))
    naive = (test.x[:, None] == train.x[None]).all(-1).any(1).sum()
    assert duplicates(test, train) == int(naive) > 0


@pytest.fixture
def photographs(tmp_path):
    for split, levels in (("train", (1, 2)), ("test", (2, 3))):
        folder = tmp_path / split / "ants"
        folder.mkdir(parents=True)
        for level in levels:
            Image.new("RGB", (4, 4), (level, 0, 0)).save(folder / f"{split}_{level}.png")
    return image_folder(str(tmp_path), "train", "test", True)


def test_files_are_compared_by_their_bytes_and_named(photographs, caplog):
    assert duplicates(photographs.test, photographs.train) == 1
    assert "test_2.png of the test split is" in caplog.text
    assert "train_2.png)" in caplog.text


def test_files_are_read_once_for_fingerprint_and_duplicates(photographs, monkeypatch):
    from pathlib import Path

    read, plain = [], Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda file: read.append(file) or plain(file))
    describe(Parts(photographs.train, None, photographs.test, ("ants",), 2))
    assert len(read) == 4


def test_a_row_of_a_table_with_empty_cells_may_be_a_duplicate():
    assert duplicates(table(float("nan"), 1), table(float("nan"), 2)) == 1


def test_the_record_counts_duplicates_of_training_and_validation():
    parts = Parts(arrays(1, 2), arrays(3), arrays(3, 2, 4, 2), ("a", "b"), 3)
    assert describe(parts)["duplicates"] == 3
    assert describe(Parts(arrays(1, 2), None, arrays(3), ("a", "b"), 2))["duplicates"] == 0


def test_digests_do_not_depend_on_the_batch():
    several = series(*range(300))
    assert digests(several)[250:] == digests(several.take(torch.arange(250, 300)))
