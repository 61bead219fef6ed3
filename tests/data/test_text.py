import json
import re

import pandas as pd
import pytest
import torch

from transferlab.data.duplicates import duplicates
from transferlab.data.hf_datasets import hf_dataset
from transferlab.data.sentiment import amazon_reviews, mr, sst2
from transferlab.data.text import Corpus, Texts
from transferlab.data.text_files import text_file, text_folder
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.inputs.text import TextInput

INPUT = TextInput("words", 1000, 8)
TEXTS = ["a good film", "bad , very bad", "good", "a film that is longer than the eight words that are kept"]
Y = torch.tensor([1, 0, 1, 0])


def place(number):
    return f"row {number + 1}"


def samples(cache=None, texts=TEXTS):
    return Texts.of(Corpus(texts, None, place, cache), Y)


class Counting(TextInput):
    """Remembers how many texts were made into tokens."""

    made = 0

    def ids(self, texts, seconds=None):
        type(self).made += len(texts)
        return super().ids(texts, seconds)


@pytest.fixture
def counting():
    Counting.made = 0
    return Counting("words", 1000, 8)


def ids_of(samples, number):
    value, _ = samples[[number]]
    return value.h[0].tolist()


def test_tokens_are_those_of_the_input_in_order_and_padded():
    ready = samples().prepared(INPUT)
    value, y = ready[[3, 2]]
    expected = [one.tolist() for one in INPUT.ids(TEXTS)]
    assert value.h.tolist() == [expected[3], expected[2] + [INPUT.padding] * 7]
    assert value.mask.tolist() == [[True] * 8, [True] + [False] * 7]
    assert y.tolist() == [0, 1]


def test_parts_keep_their_own_texts_and_labels():
    part = samples().take(torch.tensor([2, 0])).relabelled(torch.tensor([7, 8]))
    ready = part.prepared(INPUT)
    assert [ids_of(ready, number) for number in (0, 1)] == [one.tolist() for one in INPUT.ids(["good", "a good film"])]
    assert ready.y.tolist() == [7, 8]
    assert len(part) == len(ready) == 2


def test_all_parts_of_a_corpus_are_made_into_tokens_once(counting):
    whole = samples()
    for rows in ([0, 1], [2], [3]):
        whole.take(torch.tensor(rows)).prepared(counting)
    assert counting.made == len(TEXTS)


def test_tokens_on_disk_are_found_again_and_are_the_same(counting, tmp_path):
    first = samples(str(tmp_path)).prepared(counting)
    again = samples(str(tmp_path)).prepared(counting)
    assert counting.made == len(TEXTS)
    assert [ids_of(again, n) for n in range(4)] == [ids_of(first, n) for n in range(4)]
    assert [file.suffix for file in tmp_path.rglob("*") if file.is_file()] == [".safetensors"]


def test_other_texts_or_another_tokenizer_are_other_tokens_on_disk(counting, tmp_path):
    samples(str(tmp_path)).prepared(counting)
    samples(str(tmp_path), [*TEXTS[:3], "another"]).prepared(counting)
    samples(str(tmp_path)).prepared(Counting("words", 999, 8))
    samples(str(tmp_path)).prepared(Counting("words", 1000, 7))
    assert counting.made == 4 * len(TEXTS)


def test_a_damaged_file_of_tokens_is_made_anew(counting, tmp_path):
    samples(str(tmp_path)).prepared(counting)
    (file,) = (file for file in tmp_path.rglob("*") if file.is_file())
    file.write_bytes(file.read_bytes()[:-3])
    assert ids_of(samples(str(tmp_path)).prepared(counting), 2) == INPUT.ids(["good"])[0].tolist()
    assert counting.made == 2 * len(TEXTS)


def test_fingerprints_depend_on_texts_order_and_labels_alone(tmp_path):
    whole = samples()
    assert whole.fingerprint() == samples(str(tmp_path)).fingerprint()
    others = [
        whole.take(torch.tensor([1, 0, 2, 3])),
        whole.relabelled(1 - Y),
        samples(texts=["a good", "filmbad , very bad", *TEXTS[2:]]),
        Texts.of(Corpus(TEXTS, TEXTS, place, None), Y),
    ]
    assert len({one.fingerprint() for one in (whole, *others)}) == 5


def test_texts_for_a_net_that_takes_images_are_refused_with_a_choice():
    with pytest.raises(InputError, match=r"the backbone takes images, the data are texts: choose .*backbone=minilm"):
        samples().prepared(ArrayInput.of(3, 8, 8))


def test_a_text_without_any_token_is_named():
    unprintable = samples(texts=["good", " ", "bad", "film"])
    with pytest.raises(InputError, match=r"row 2: backbone\.input\.tokenizer=words finds no token"):
        unprintable.prepared(TextInput("words", 9, 8))


def text_column(splits):
    return list(splits.train.corpus.texts)


ROWS = [("a good film", "pos"), ("NA", "neg"), ('it is "bad", null', "neg"), ("löblich", "pos")]


def write(path, rows=ROWS, columns=("text", "label"), encoding="utf-8"):
    frame = pd.DataFrame(rows, columns=list(columns))
    if path.suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",", encoding=encoding)
    return str(path)


def read(path, test=None, text="text", label="label", numbers=False, encoding="utf-8"):
    return text_file(str(path), test, text, label, numbers, encoding, None)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_a_table_gives_its_texts_and_classes_as_they_stand(tmp_path, suffix):
    splits = read(write(tmp_path / f"train{suffix}"))
    assert text_column(splits) == [text for text, _ in ROWS]
    assert splits.classes == ("neg", "pos")
    assert splits.train.y.tolist() == [1, 0, 0, 1]
    assert splits.test is None


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_whole_numbers_as_classes_stand_in_their_order(tmp_path, suffix):
    splits = read(write(tmp_path / f"train{suffix}", [("a", 10), ("b", 9), ("c", 10), ("d", 2)]))
    assert splits.classes == ("2", "9", "10")
    assert splits.train.y.tolist() == [2, 1, 2, 0]


def test_a_test_file_has_the_classes_of_training(tmp_path):
    test = write(tmp_path / "test.jsonl", [("bad", "neg")])
    splits = read(write(tmp_path / "train.csv"), test)
    assert splits.test.y.tolist() == [0]


def test_two_columns_are_pairs(tmp_path):
    path = write(tmp_path / "pairs.csv", [("a b", "c", "x"), ("d", "e", "y")], ("first", "second", "label"))
    ready = read(path, text=["first", "second"]).train.prepared(INPUT)
    assert ids_of(ready, 0) == INPUT.ids(["a b"], ["c"])[0].tolist()


def test_numbers_to_predict_may_be_missing(tmp_path):
    path = write(tmp_path / "scores.csv", [("a", 1.5), ("b", None), ("c", -2)], ("text", "score"))
    splits = read(path, label="score", numbers=True)
    assert splits.classes == ("score",)
    torch.testing.assert_close(splits.train.y, torch.tensor([1.5, torch.nan, -2]), equal_nan=True)


def test_several_label_columns_are_several_numbers(tmp_path):
    path = write(tmp_path / "tags.jsonl", [("a", 1, 0), ("b", 0, None)], ("text", "rude", "long"))
    splits = read(path, label=["rude", "long"])
    assert splits.classes == ("rude", "long")
    torch.testing.assert_close(splits.train.y, torch.tensor([[1, 0], [0, torch.nan]]), equal_nan=True)


def test_a_file_in_another_encoding_is_read_with_it(tmp_path):
    path = write(tmp_path / "train.csv", encoding="latin-1")
    assert text_column(read(path, encoding="latin-1"))[3] == "löblich"
    with pytest.raises(InputError, match=r"train\.csv is not in encoding=utf-8 .* set target\.data\.encoding"):
        read(path)
    with pytest.raises(InputError, match="is not in encoding=no-such"):
        read(path, encoding="no-such")


def test_texts_of_the_test_split_that_stand_in_training_are_counted(tmp_path, caplog):
    splits = read(
        write(tmp_path / "train.csv"),
        write(tmp_path / "test.csv", [("new", "neg"), ("a good film", "pos"), ("NA", "pos")]),
    )
    assert duplicates(splits.test, splits.train) == 2
    assert "test.csv, row 2 of the test split is" in caplog.text


def test_rows_without_a_class_are_left_out_and_counted(tmp_path):
    splits = read(write(tmp_path / "train.csv", [("a", "x"), ("b", None), ("c", "y")]))
    assert list(splits.train.corpus.texts) == ["a", "c"]
    assert (splits.train.y.tolist(), splits.unlabelled) == ([0, 1], 1)


@pytest.mark.parametrize(("labels", "classes"), [((0, None, 1), ("0", "1")), ((True, None, False), ("False", "True"))])
def test_a_null_among_the_labels_of_a_jsonl_changes_no_other(tmp_path, labels, classes):
    lines = [{"text": text, "label": label} for text, label in zip("abc", labels, strict=True)]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "u.jsonl").write_text(json.dumps(lines[0]))  # without a null they are read as another kind
    splits = read(tmp_path / "t.jsonl", str(tmp_path / "u.jsonl"))
    assert (splits.classes, splits.unlabelled) == (classes, 1)
    assert splits.test.y.tolist() == [classes.index(str(labels[0]))]


@pytest.mark.parametrize(
    ("rows", "change", "sentence"),
    [
        (ROWS, {"label": "lable"}, r"no column of .*train\.csv 'lable'; did you mean 'label'"),
        (ROWS, {"text": "Txt"}, r"no column of .*train\.csv 'Txt'; did you mean 'text'"),
        (ROWS, {"text": ["text", "text", "text"]}, "one column, or two"),
        (ROWS, {"numbers": True}, r"train\.csv, row 1 has 'pos' in column 'label', which is no number"),
        ([("a", "x"), (" \t", "y")], {}, r"train\.csv, row 2 has an empty text"),
        ([("a", "x"), (None, "y")], {}, r"train\.csv, row 2 has nothing in column 'text'"),
        ([("a", "x"), ("b", None), (" ", "y")], {}, r"train\.csv, row 3 has an empty text"),
        ([("a", "1"), ("b", "inf")], {"numbers": True}, r"row 2 has 'inf' in column 'label'"),
        ([], {}, r"train\.csv holds no texts"),
    ],
)
def test_a_table_with_something_wrong_ends_with_a_sentence(tmp_path, rows, change, sentence):
    with pytest.raises(InputError, match=sentence):
        read(write(tmp_path / "train.csv", rows), **change)


def test_a_class_of_the_test_split_alone_is_named_with_its_row(tmp_path):
    test = write(tmp_path / "test.csv", [("bad", "neg"), ("so so", "neutral")])
    with pytest.raises(InputError, match=r"test\.csv, row 2 has the class 'neutral', which .*train\.csv lacks"):
        read(write(tmp_path / "train.csv"), test)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("train.csv", "text,label\na,b,c,d\n", "with more cells than its header"),
        ("train.csv", "text,label\na,b\nc,d,e,f\n", r"is no \.csv that can be read"),
        ("train.csv", "", r"is no \.csv that can be read"),
        ("train.jsonl", '{"text": "a", "label": 1}\n{"text": \n', r"is no \.jsonl that can be read"),
        ("train.xlsx", "x", r"target\.data\.path=.*a file that ends in \.csv, \.tsv, \.jsonl"),
    ],
)
def test_a_file_that_is_no_table_ends_with_a_sentence(tmp_path, name, content, sentence):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=sentence):
        read(tmp_path / name)


def test_a_file_that_is_not_there_is_named_with_its_key(tmp_path):
    train = write(tmp_path / "train.csv")
    with pytest.raises(InputError, match=r"target\.data\.test=.*no\.csv: there is no such file"):
        read(train, str(tmp_path / "no.csv"))


@pytest.fixture
def folder(tmp_path):
    for split, sign, name, text in [
        ("train", "pos", "b", "good"),
        ("train", "pos", "a", "very good"),
        ("train", "neg", "c", "bad"),
        ("test", "neg", "d", "awful"),
    ]:
        file = tmp_path / split / sign / f"{name}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path


def test_a_folder_of_texts_has_its_sub_folders_as_classes(folder):
    splits = text_folder(str(folder), "train", "test", "utf-8", None)
    assert splits.classes == ("neg", "pos")
    assert text_column(splits) == ["bad", "very good", "good"]
    assert splits.train.y.tolist() == [0, 1, 1]
    assert splits.test.y.tolist() == [0]
    flat = text_folder(str(folder / "train"), None, None, "utf-8", None)
    assert (text_column(flat), flat.test) == (text_column(splits), None)


def test_a_folder_with_something_wrong_ends_with_a_sentence(folder):
    with pytest.raises(InputError, match=r"there is no folder .*nowhere"):
        text_folder(str(folder), "nowhere", None, "utf-8", None)
    (folder / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds no texts: CLASS/\*\.txt"):
        text_folder(str(folder), "empty", None, "utf-8", None)
    (folder / "train" / "pos" / "a.txt").write_text("\n")
    with pytest.raises(InputError, match=r"pos/a\.txt has an empty text"):
        text_folder(str(folder), "train", None, "utf-8", None)
    (folder / "train" / "pos" / "a.txt").write_bytes(b"caf\xe9")
    with pytest.raises(InputError, match=r"pos/a\.txt is not in encoding=utf-8"):
        text_folder(str(folder), "train", None, "utf-8", None)


def test_lines_of_sst2_begin_with_their_label(tmp_path):
    (tmp_path / "stsa.binary.train").write_text("1 a good film\n0 bad\n")
    (tmp_path / "stsa.binary.test").write_text("0 rich crème brûlée\n")
    splits = sst2(str(tmp_path), "utf-8", None)
    assert splits.classes == ("negative", "positive")
    assert (text_column(splits), splits.train.y.tolist()) == (["a good film", "bad"], [1, 0])
    assert (list(splits.test.corpus.texts), splits.test.y.tolist()) == (["rich crème brûlée"], [0])
    (tmp_path / "stsa.binary.train").write_text("1 a good film\nbad\n")
    with pytest.raises(InputError, match=r"stsa\.binary\.train, line 2 begins with 'bad'"):
        sst2(str(tmp_path), "utf-8", None)


def test_a_missing_published_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"target\.data\.root: there is no file .*stsa\.binary\.train"):
        sst2(str(tmp_path), "utf-8", None)
    with pytest.raises(InputError, match="there is no domain of the Amazon reviews 'book'; did you mean 'books'"):
        amazon_reviews(str(tmp_path), "book", "utf-8", None)


def test_an_amazon_review_is_what_stands_between_its_tags(tmp_path):
    (tmp_path / "dvd").mkdir()
    review = "<review>\n<rating>\n1.0\n</rating>\n<review_text>\n{}\n</review_text>\n</review>\n"
    (tmp_path / "dvd" / "negative.review").write_text(review.format("bad\n\nvery") + review.format("awful"))
    (tmp_path / "dvd" / "positive.review").write_text(review.format("good"))
    splits = amazon_reviews(str(tmp_path), "dvd", "utf-8", None)
    assert text_column(splits) == ["bad\n\nvery", "awful", "good"]
    assert splits.train.y.tolist() == [0, 0, 1]


def test_sst2_is_as_published(real_data):
    splits = sst2(str(real_data / "sentiment"), "utf-8", None)
    assert (len(splits.train), len(splits.test)) == (6920, 1821)
    assert splits.train.y.bincount().tolist() == [3310, 3610]
    assert splits.test.y.bincount().tolist() == [912, 909]
    assert any("crème brûlée" in text for text in splits.test.corpus.texts)


def test_mr_is_as_published(real_data):
    splits = mr(str(real_data / "sentiment"), "latin-1", None)
    assert splits.train.y.bincount().tolist() == [5331, 5331]
    assert any("clichés" in text for text in splits.train.corpus.texts)


@pytest.mark.parametrize("domain", ["books", "dvd", "electronics", "kitchen"])
def test_amazon_reviews_are_as_published(real_data, domain):
    splits = amazon_reviews(str(real_data / "amazon_reviews" / "amazon_raw_reviews"), domain, "utf-8", None)
    assert splits.train.y.bincount().tolist() == [1000, 1000]
    assert not any(re.search("</?review", text) for text in splits.train.corpus.texts)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A labelled set of `datasets`, on disk."""
    datasets = pytest.importorskip("datasets", reason="the extra `datasets` is not installed")
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["neg", "pos"]),
            "pair": datasets.Value("string"),
            "score": datasets.Value("float32"),
            "grade": datasets.Value("int64"),
        }
    )

    def split(*rows):
        return datasets.Dataset.from_dict(dict(zip(features, zip(*rows, strict=True), strict=True)), features)

    parts = {
        "train": split(("good", 1, "a", 0.5, 3), ("bad", 0, "b", None, 1)),
        "validation": split(("awful", 0, "c", -1.5, 3)),
        "test": split(("hidden", -1, "d", 0.0, None)),
        "broken": split((None, 1, "e", 0.0, 1)),
        "partly": split(("hidden", -1, "d", 0.0, None), ("good", 1, "a", 0.0, 1), ("bad", 0, "b", 0.0, 3)),
    }
    place = tmp_path_factory.mktemp("saved")
    datasets.DatasetDict(parts).save_to_disk(place)
    return str(place)


def from_hub(path, name=None, train="train", test="validation", text="text", label="label", numbers=False):
    return hf_dataset(path, name, train, test, text, label, numbers, None)


def test_a_set_of_datasets_keeps_its_names_of_classes(saved):
    splits = from_hub(saved)
    assert splits.classes == ("neg", "pos")
    assert (text_column(splits), splits.train.y.tolist()) == (["good", "bad"], [1, 0])
    assert (list(splits.test.corpus.texts), splits.test.y.tolist()) == (["awful"], [0])


def test_columns_of_a_set_may_be_pairs(saved):
    splits = from_hub(saved, text=["text", "pair"], test=None)
    assert list(splits.train.corpus.seconds) == ["a", "b"]


def test_labels_of_a_set_may_be_numbers_of_which_some_are_missing(saved):
    one, two = from_hub(saved, label="score", numbers=True), from_hub(saved, label=["score", "grade"])
    assert (one.classes, two.classes) == (("score",), ("score", "grade"))
    torch.testing.assert_close(one.train.y, torch.tensor([0.5, torch.nan]), equal_nan=True)
    torch.testing.assert_close(two.train.y, torch.tensor([[0.5, 3], [torch.nan, 1]]), equal_nan=True)
    assert two.test.y.tolist() == [[-1.5, 3]]


def test_rows_of_a_set_without_a_class_are_left_out_and_counted(saved):
    named, plain = from_hub(saved, train="partly"), from_hub(saved, train="partly", label="grade")
    assert (named.classes, plain.classes) == (("neg", "pos"), ("1", "3"))
    for found, y in ((named, [1, 0]), (plain, [0, 1])):
        assert (text_column(found), found.train.y.tolist(), found.unlabelled) == (["good", "bad"], y, 1)
    assert found.train.place(0).endswith("partly, row 2")


def test_a_folder_of_data_files_is_a_set_too(tmp_path, monkeypatch):
    pytest.importorskip("datasets", reason="the extra `datasets` is not installed")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "set").mkdir()
    rows = [{"text": "good", "label": 3}, {"text": "bad", "label": 1}]
    (tmp_path / "set" / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    splits = from_hub(str(tmp_path / "set"), test=None)
    assert (splits.classes, splits.train.y.tolist()) == (("1", "3"), [1, 0])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"train": "trian"}, "no split of .* 'trian'; did you mean 'train'"),
        ({"text": "txt"}, "no column of .* 'txt'; did you mean 'text'"),
        ({"label": "lable"}, "no column of .* 'lable'; did you mean 'label'"),
        ({"test": "test"}, r":test, row 1 has no label, as hidden test splits do; set target\.data\.test"),
        ({"label": "pair", "numbers": True}, ":train, row 1 has 'a' in column 'pair', which is no number"),
        ({"test": "broken"}, ":broken, row 1 has nothing in column 'text'"),
    ],
)
def test_a_set_with_something_wrong_ends_with_a_sentence(saved, change, sentence):
    with pytest.raises(InputError, match=sentence):
        from_hub(saved, **change)


def test_a_set_that_is_nowhere_ends_with_the_remedy(tmp_path):
    pytest.importorskip("datasets", reason="the extra `datasets` is not installed")
    with pytest.raises(InputError, match=r"target\.data\.path=.*nowhere cannot be read: .*give its folder"):
        from_hub(str(tmp_path / "nowhere"))
