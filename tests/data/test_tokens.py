import logging

import pytest
import torch

from transferlab.data.tokens import IGNORED, conll
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.inputs.text import TextInput

INPUT = TextInput("words", 1000, 16)
FILE = "-DOCSTART-\tO\n\nAnn\tB-PER\nsaw\tO\n\n\nU.S.\tB-LOC\nships\tO\nagain\tO\n"


def write(path, text=FILE):
    path.write_text(text, encoding="utf-8")
    return str(path)


def read(path, test=None, word=0, tag=-1, separator=None, unlabelled=None):
    return conll(path, test, word, tag, separator, unlabelled, "utf-8")


def test_sentences_end_at_empty_lines_and_classes_are_the_tags_of_training(tmp_path):
    splits = read(write(tmp_path / "train.tsv"))
    assert splits.classes == ("B-LOC", "B-PER", "O")
    assert splits.train.sentences.words == [["Ann", "saw"], ["U.S.", "ships", "again"]]
    assert splits.train.y.tolist() == [[1, 2, IGNORED], [0, 2, 2]]
    assert splits.train.place(1).endswith("train.tsv, line 7")


def test_a_word_is_labelled_at_its_first_token_alone(tmp_path):
    ready = read(write(tmp_path / "train.tsv")).train.prepared(INPUT)
    value, y = ready[[1, 0]]
    assert value.mask.sum(1).tolist() == [6, 2]  # U . S . ships again
    assert y.tolist() == [[0, *[IGNORED] * 3, 2, 2], [1, 2, *[IGNORED] * 4]]


def test_parts_keep_their_own_sentences_and_labels(tmp_path):
    whole = read(write(tmp_path / "train.tsv")).train
    part = whole.take(torch.tensor([1]))
    other = part.relabelled(torch.tensor([[2, 1, 0]])).prepared(INPUT)
    assert part.prepared(INPUT)[[0]][1].tolist() == [[0, *[IGNORED] * 3, 2, 2]]
    assert other[[0]][1].tolist() == [[2, *[IGNORED] * 3, 1, 0]]
    assert len({one.fingerprint() for one in (whole, part, whole.take(torch.tensor([1, 0])))}) == 3
    assert part.digests() == whole.digests()[1:]


def test_tokens_are_made_once_for_all_parts_of_a_split(tmp_path):
    class Counting(TextInput):
        made = 0

        def words(self, sentences):
            type(self).made += len(sentences)
            return super().words(sentences)

    counting = Counting("words", 1000, 16)
    whole = read(write(tmp_path / "train.tsv")).train
    for rows in ([0], [1], [1, 0]):
        whole.take(torch.tensor(rows)).prepared(counting)
    assert Counting.made == 2


def test_columns_are_chosen_and_spaces_part_them(tmp_path):
    text = "1 Ann NNP I-PER\n2 saw VBD O\n"
    splits = read(write(tmp_path / "train.txt", text), word=1, tag=2)
    assert splits.train.sentences.words == [["Ann", "saw"]]
    assert splits.classes == ("NNP", "VBD")


def test_a_separator_keeps_the_spaces_of_a_word(tmp_path):
    splits = read(write(tmp_path / "train.tsv", "New York\tLOC\nsleeps\tO\n"), separator="\t")
    assert splits.train.sentences.words == [["New York", "sleeps"]]


def test_words_without_a_label_are_ignored(tmp_path):
    splits = read(write(tmp_path / "train.tsv", "Ann\tPER\nsaw\t?\nBob\tO\n"), unlabelled="?")
    assert splits.classes == ("O", "PER")
    assert splits.train.y.tolist() == [[1, IGNORED, 0]]


def test_words_that_are_cut_off_are_counted_in_a_warning(tmp_path, caplog):
    splits = read(write(tmp_path / "train.tsv"))
    with caplog.at_level(logging.WARNING):
        splits.train.prepared(TextInput("words", 1000, 4))
    assert "2 of 5 words have no token within backbone.input.max_length=4" in caplog.text


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("Ann\tPER\nsaw\n", "line 2 has 1 columns, target.data.word=0 and target.data.tag=1"),
        ("\n\n", "holds no sentences"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, text, sentence):
    with pytest.raises(InputError, match=sentence):
        read(write(tmp_path / "train.tsv", text), tag=1)


def test_a_tag_that_training_lacks_is_named_with_its_line(tmp_path):
    test = write(tmp_path / "test.tsv", "Ann\tB-PER\n\nsaw\tO\nIBM\tB-ORG\n")
    with pytest.raises(InputError, match=r"test\.tsv, line 4 has the tag 'B-ORG', which .*train\.tsv lacks"):
        read(write(tmp_path / "train.tsv"), test)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"target\.data\.path: there is no file"):
        read(str(tmp_path / "nothing"))


def test_images_are_refused_with_a_choice(tmp_path):
    with pytest.raises(InputError, match=r"takes images, the data are texts: choose .*minilm"):
        read(write(tmp_path / "train.tsv")).train.prepared(ArrayInput.of(3, 8, 8))
