"""Losses on the target's predictions where a sample has a class in every pixel or word: each of these is a sample."""

import pytest
import torch
from both_sides import drawn

from transferlab.losses.base import Observation, Step
from transferlab.losses.domains.bnm import BNM, bnm
from transferlab.losses.domains.entropy import Entropy, entropy
from transferlab.losses.domains.mcc import MCC, certainty, mcc
from transferlab.losses.domains.pseudo_label import PseudoLabel, pseudo_label
from transferlab.tasks.segmentation import Segmentation
from transferlab.tasks.tokens import TokenClassification
from transferlab.values import Seq

PIXELS = Segmentation(None, None, "iou")
WORDS = TokenClassification(torch.nn.Linear, None, "f1")
CASES = {
    "entropy": (Entropy(1.0), entropy),
    "bnm": (BNM(1.0), bnm),
    "mcc": (MCC(1.0, 2.5), lambda logits: mcc(logits, certainty(logits, 2.5), 2.5)),
    "pseudo_label": (PseudoLabel(1.0, 0.4), lambda logits: pseudo_label(logits, 0.4)),
}


def step_of(task, features, outputs):
    seen = Observation(torch.zeros(2, 1), torch.zeros(2, 0), {}, features, outputs)
    return Step(None, None, task, {"unlabeled": seen})


@pytest.mark.parametrize("name", CASES)
def test_each_pixel_is_a_sample(name):
    loss, formula = CASES[name]
    outputs = drawn(2, 3, 4, 5)
    pixels = torch.stack([outputs[b, :, row, column] for b in range(2) for row in range(4) for column in range(5)])
    torch.testing.assert_close(loss(step_of(PIXELS, None, outputs)), formula(pixels))


@pytest.mark.parametrize("name", CASES)
def test_each_token_is_a_sample_and_padding_is_none(name):
    loss, formula = CASES[name]
    outputs = drawn(2, 4, 3)
    mask = torch.tensor([[True, True, True, False], [True, False, False, False]])
    tokens = torch.stack([outputs[0, 0], outputs[0, 1], outputs[0, 2], outputs[1, 0]])
    found = loss(step_of(WORDS, Seq(torch.zeros(2, 4, 6), mask), outputs))
    torch.testing.assert_close(found, formula(tokens))
    outputs[~mask] = torch.nan
    torch.testing.assert_close(loss(step_of(WORDS, Seq(torch.zeros(2, 4, 6), mask), outputs)), found)
