import torch
from hypothesis import given
from hypothesis import strategies as st

from transferlab.data.masks import IGNORED
from transferlab.tasks.places import UNKNOWN, Placed, drawn
from transferlab.tasks.segmentation import Segmentation
from transferlab.tasks.tokens import IGNORED as NO_LABEL
from transferlab.tasks.tokens import TokenClassification
from transferlab.values import Seq

PIXELS = Segmentation(None, None, "iou")
WORDS = TokenClassification(torch.nn.Linear, None, "f1")


@given(st.integers(1, 5), st.integers(1, 9), st.integers(1, 12), st.integers(0, 99))
def test_drawn_places_are_there_each_once_and_the_same_again(samples, places, most, seed):
    there = torch.rand(samples, places, generator=torch.Generator().manual_seed(seed)) < 0.5
    found = drawn(there, most, seed)
    assert there[found].all()
    pairs = list(zip(*(one.tolist() for one in found), strict=True))
    assert len(set(pairs)) == len(pairs)
    assert torch.bincount(found[0], minlength=samples).tolist() == there.sum(1).clamp(max=most).tolist()
    assert all(torch.equal(one, other) for one, other in zip(found, drawn(there, most, seed), strict=True))


def test_other_places_of_other_samples_are_drawn():
    found = drawn(torch.ones(50, 100, dtype=torch.bool), 1, 0)[1]
    assert len(set(found.tolist())) > 25


def test_pixels_have_the_mask_at_their_centre():
    assert isinstance(PIXELS, Placed)
    y = torch.tensor([[[0, 1], [2, IGNORED]]]).repeat_interleave(3, 1).repeat_interleave(3, 2)
    outputs = torch.arange(1 * 4 * 2 * 2.0).reshape(1, 4, 2, 2)
    logits, there = PIXELS.placed(None, outputs)
    assert there.all() and PIXELS.marks(y, outputs).tolist() == [[0, 1, 2, UNKNOWN]]
    assert logits[0, 1].tolist() == outputs[0, :, 0, 1].tolist()


def test_words_are_at_their_tokens():
    assert isinstance(WORDS, Placed)
    mask = torch.tensor([[True, True, False]])
    h, outputs = torch.rand(1, 3, 4), torch.rand(1, 3, 2)
    logits, there = WORDS.placed(Seq(h, mask), outputs)
    assert logits is outputs and torch.equal(there, mask) and WORDS.vectors(None, Seq(h, mask), outputs) is h
    assert WORDS.marks(torch.tensor([[1, NO_LABEL]]), outputs).tolist() == [[1, UNKNOWN, UNKNOWN]]
