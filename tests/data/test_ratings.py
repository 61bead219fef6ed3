from pathlib import Path

import pytest
import torch

from transferlab.data.ratings import Ratings, ratings
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.inputs.ids import IdsInput

BOOKS = "user,item,rating,when\nann,emma,5,30\nbob,dune,1,10\nann,dune,4,20\n"
FILMS = "user,item,rating,when\ncat,jaws,2,2020-01-03\nann,alien,3,2019-05-01\nbob,jaws,,2021-07-07\n"


@pytest.fixture
def read(tmp_path: Path):
    def reader(text=BOOKS, **changes):
        (tmp_path / "read.csv").write_text(text)
        settings = {"user": "user", "item": "item", "rating": "rating", "time": None, "latest": 1 / 3}
        settings |= {"separator": ",", "header": True, "before": []}
        return ratings(str(tmp_path / "read.csv"), **{**settings, **changes})

    return reader


@pytest.fixture
def books(tmp_path: Path) -> str:
    (tmp_path / "books.csv").write_text(BOOKS)
    return str(tmp_path / "books.csv")


def test_users_and_items_are_numbered_as_they_appear(read):
    splits = read()
    assert splits.train.ids.tolist() == [[0, 0], [1, 1], [0, 1]]
    assert splits.train.y.tolist() == [5, 1, 4]
    assert (splits.train.users, splits.train.items) == (2, 2)
    assert splits.test is None and splits.classes == ("rating",)


def test_users_and_items_of_files_before_keep_their_rows(read, books):
    films = read(FILMS, before=[books]).train
    assert films.ids.tolist() == [[2, 2], [0, 3], [1, 2]]
    assert (films.users, films.items) == (3, 4)
    assert films.y[:2].tolist() == [2, 3] and films.y[2].isnan()


@pytest.mark.parametrize(("text", "latest"), [(BOOKS, 5.0), (FILMS, float("nan"))], ids=["numbers", "dates"])
def test_by_time_the_latest_ratings_are_the_test_split(read, text, latest):
    splits = read(text, time="when")
    assert (len(splits.train), len(splits.test)) == (2, 1)
    assert splits.test.y.tolist() == pytest.approx([latest], nan_ok=True)


def test_a_file_without_a_header_is_read_by_places(read):
    text = "\n".join(line.replace(",", "::") for line in BOOKS.splitlines()[1:])
    splits = read(text, user=0, item=1, rating=2, time=3, separator="::", header=False)
    assert splits.test.y.tolist() == [5]


def test_a_batch_is_rows_and_ratings(read):
    x, y = read().train[[2, 0]]
    assert x.tolist() == [[0, 1], [0, 0]] and x.dtype == torch.int64
    assert y.tolist() == [4, 5] and y.dtype == torch.float32


def test_subsets_and_other_labels_keep_the_size_of_the_tables(read):
    whole = read().train
    some = whole.take(torch.tensor([1])).relabelled(torch.tensor([3.0]))
    assert (some.ids.tolist(), some.y.tolist(), some.users, some.items) == ([[1, 1]], [3.0], 2, 2)
    assert some.fingerprint() != whole.take(torch.tensor([1])).fingerprint()


def test_tables_with_too_few_rows_are_refused_with_the_numbers_to_set(read, books):
    films = read(FILMS, before=[books]).train
    assert isinstance(films.prepared(IdsInput(3, 4)), Ratings)
    with pytest.raises(InputError, match=r"backbone.input.users=3 backbone.input.items=4"):
        films.prepared(IdsInput(3, 2))
    with pytest.raises(InputError, match="choose backbone=embeddings"):
        films.prepared(ArrayInput.of(2))


@pytest.mark.parametrize(
    ("text", "changes", "said"),
    [
        (BOOKS, {"user": "usr"}, "no column of .*read.csv 'usr'; did you mean 'user'"),
        (BOOKS, {"rating": "stars"}, "'stars'"),
        (BOOKS + "bob,,3,40\n", {}, "row 4 has no 'item'"),
        (BOOKS + "bob,emma,good,40\n", {}, "row 4 has 'good' in 'rating', where a number"),
        (BOOKS + "bob,emma,inf,40\n", {}, "row 4 has 'inf'"),
        (BOOKS + "bob,emma,3,soon\n", {"time": "when"}, "no number and no date"),
        (BOOKS, {"time": "when", "latest": 0.01}, "latest=0.01 of 3 ratings"),
        (BOOKS.splitlines()[0] + "\n", {}, "holds no ratings"),
        ("", {}, "is no table"),
        (BOOKS, {"before": ["nowhere.csv"]}, "nowhere.csv: there is no such file"),
    ],
)
def test_what_cannot_be_read_is_said(read, text, changes, said):
    with pytest.raises(InputError, match=said):
        read(text, **changes)
