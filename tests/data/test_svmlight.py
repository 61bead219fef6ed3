"""The reader of published bags of words: the files as they are, and what is wrong with another."""

import pytest
import torch

from transferlab.data.svmlight import amazon_dann
from transferlab.errors import InputError


def files(root, train, test="1 0:1\n"):
    (root / "dvd_train.svmlight").write_text(train)
    (root / "dvd_test.svmlight").write_text(test)
    return str(root)


def test_words_are_counted_from_nought_and_signs_are_classes(tmp_path):
    splits = amazon_dann(files(tmp_path, "-1 0:3 4999:2\n1 7:1\n-1 \n", "1 1:4\n"), "dvd")
    assert splits.train.y.tolist() == [0, 1, 0]
    assert [splits.classes[y] for y in splits.train.y] == ["negative", "positive", "negative"]
    wanted = torch.zeros(3, 5000)
    wanted[0, 0], wanted[0, 4999], wanted[1, 7] = 3, 2, 1
    assert splits.train.x.dtype == torch.float32
    assert torch.equal(splits.train.x, wanted)
    assert (splits.test.x.argmax().item(), splits.test.x.sum().item(), splits.test.y.tolist()) == (1, 4, [1])


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        ("2 0:1\n", "has the label 2; a review is -1, negative, or 1, positive"),
        ("1 5000:1\n", "is no svmlight file with words from 0 to 4999"),
        ("good 0:1\n", "is no svmlight file"),
        ("1 0:nan\n", "sample 0 holds NaN"),
        ("", "holds no samples"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, contents, said):
    with pytest.raises(InputError, match=said):
        amazon_dann(files(tmp_path, contents), "dvd")


def test_a_domain_or_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match="did you mean 'kitchen'"):
        amazon_dann(str(tmp_path), "kitchens")
    with pytest.raises(InputError, match=r"there is no file .*books_train\.svmlight"):
        amazon_dann(str(tmp_path), "books")


@pytest.mark.parametrize("name, tested", [("books", 4465), ("dvd", 3586), ("electronics", 5681), ("kitchen", 5945)])
def test_the_published_files_have_2000_reviews_to_train_on_and_others_to_test_on(real_data, name, tested):
    splits = amazon_dann(str(real_data / "amazon_reviews" / "amazon_dann_svmlight"), name)
    assert splits.train.y.bincount().tolist() == [1000, 1000]
    assert splits.train.x.shape == (2000, 5000)
    assert splits.test.x.shape == (tested, 5000)
    assert (splits.train.x == splits.train.x.round()).all()
