import pytest
import torch
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from transferlab.tasks.written import Written

SAID = ["the cat sat on the mat", "Ein Hund schläft.", "", "日本語 and more words here"]
WANTED = ["the cat sat on a mat", "Ein Hund schläft gern.", "something", "日本語 and more words there"]


@pytest.mark.parametrize("scorer", [BLEU, CHRF])
def test_the_score_is_the_corpuss_over_all_batches(scorer):
    metric = Written(scorer())
    metric.update(SAID[:1], WANTED[:1])
    metric.update(SAID[1:], WANTED[1:])
    assert float(metric.compute()) == pytest.approx(scorer().corpus_score(SAID, [WANTED]).score, rel=1e-6)


def test_a_metric_that_is_reset_knows_nothing_of_earlier_texts():
    metric = Written(CHRF())
    metric.update(SAID, WANTED)
    metric.reset()
    metric.update(WANTED[:1], WANTED[:1])
    assert float(metric.compute()) == 100


def test_what_several_processes_kept_is_one_corpus():
    first, second, whole = (Written(BLEU()) for _ in range(3))
    first.update(SAID[:2], WANTED[:2])
    second.update(SAID[2:], WANTED[2:])
    whole.update(SAID, WANTED)
    # as torchmetrics gathers: states of one process end to end, then those of all
    together = Written(BLEU())
    together.said = torch.cat([*first.said, *second.said])
    together.wanted = torch.cat([*first.wanted, *second.wanted])
    together._update_count = 1
    assert float(together.compute()) == float(whole.compute())


def test_texts_with_the_character_that_parts_them_are_still_one_text_each():
    metric = Written(CHRF())
    metric.update(["a\0b", "c"], ["a b", "c"])
    assert float(metric.compute()) == 100
