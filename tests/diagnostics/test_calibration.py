"""The calibration error against a case by hand and against the formula in NumPy."""

import itertools

import numpy as np
import pytest
import torch

from transferlab.diagnostics.calibration import expected_calibration_error


def test_a_case_by_hand() -> None:
    # two bins: confidences .9 .9 .8 (right, right, wrong) and .4 .4 (wrong, wrong; three classes)
    probabilities = torch.tensor([[0.9, 0.1, 0.0], [0.1, 0.9, 0.0], [0.8, 0.1, 0.1], [0.4, 0.3, 0.3], [0.3, 0.4, 0.3]])
    y = torch.tensor([0, 1, 2, 1, 0])
    by_hand = 3 / 5 * abs(2 / 3 - 2.6 / 3) + 2 / 5 * abs(0 - 0.4)
    assert expected_calibration_error(probabilities, y, 2) == pytest.approx(by_hand, abs=1e-6)


def test_it_is_the_formula() -> None:
    rng = np.random.default_rng(0)
    outputs, y = rng.normal(size=(300, 5)) * 2, rng.integers(0, 5, 300)
    probabilities = np.exp(outputs) / np.exp(outputs).sum(1, keepdims=True)
    confidence, right = probabilities.max(1), probabilities.argmax(1) == y
    edges = np.linspace(0, 1, 16)
    expected = 0.0
    for low, high in itertools.pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert expected > 0.1
    ours = expected_calibration_error(torch.tensor(probabilities), torch.tensor(y), 15)
    assert ours == pytest.approx(expected, abs=1e-6)
