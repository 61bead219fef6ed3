from dataclasses import replace

import torch

from transferlab.inputs.arrays import ArrayInput
from transferlab.inputs.pair import PairInput
from transferlab.inputs.text import TextInput
from transferlab.values import Pair, Seq

INPUT = PairInput(replace(ArrayInput.of(1, 4, 4), mean=[0.5], std=[0.5]), TextInput("words", 50, 8))


def test_each_side_is_normalised_by_its_own_rule():
    images = torch.full((2, 1, 4, 4), 255, dtype=torch.uint8)
    texts = Seq(torch.ones(2, 3, dtype=torch.int32), torch.ones(2, 3, dtype=torch.bool))
    found = INPUT.normalised(Pair(images, texts))
    assert found.first.eq(1).all()  # (255 / 255 - 0.5) / 0.5
    assert found.second.h.dtype == torch.int64


def test_an_example_is_both_sides_own():
    found = INPUT.example(3)
    torch.testing.assert_close(found.first, INPUT.first.example(3))
    torch.testing.assert_close(found.second.h, INPUT.second.example(3).h)
    assert INPUT.kind == "pairs of images and texts"
