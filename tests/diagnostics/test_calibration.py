"""The calibration error against a case by hand and against the formula in NumPy."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from transferlab.diagnostics.base import Look
from transferlab.diagnostics.calibration import CalibrationError, expected_calibration_error
from transferlab.diagnostics.watch import Watch


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


def measured(probabilities, validation: list) -> dict:
    """What the diagnostic says of validation batches (outputs, y), kept as a run keeps them."""
    module = SimpleNamespace(task=SimpleNamespace(probabilities=probabilities))
    watch = Watch([CalibrationError()], 0.05, 4, 0, SimpleNamespace(rows=[]))
    for number, (outputs, y) in enumerate(validation):
        watch.on_validation_batch_end(None, module, outputs, (None, y), number)
    return dict(CalibrationError().measure(Look(module, {}, 4, watch._validation, 0.5)))


def test_it_is_measured_on_what_the_task_takes_for_probabilities() -> None:
    outputs, y = torch.rand(6, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0, 1, 2])

    def squares(outputs: torch.Tensor) -> torch.Tensor:
        return outputs.square() / outputs.square().sum(1, keepdim=True)

    found = measured(squares, [(outputs[:4], y[:4]), (outputs[4:], y[4:])])
    assert found == {"calibration_error": expected_calibration_error(squares(outputs), y, 15)}


def test_it_is_silent_where_nothing_is_held_out_or_a_sample_has_not_one_class() -> None:
    assert measured(lambda outputs: outputs.softmax(1), []) == {}
    assert measured(lambda outputs: None, [(torch.randn(4, 2), torch.randn(4, 2))]) == {}
