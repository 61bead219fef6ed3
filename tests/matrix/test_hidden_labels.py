"""Labels that a target hides change nothing of a training: no weight, no selected epoch, no number that is logged.

Every strategy of domain adaptation runs twice, once with the target's training labels as they are and once with noise
in their place, under every rule at once; beyond a budget of labels all other strategies do too. Some strategies are
drawn each day, see `cells.drawn`.
"""

import shutil
from pathlib import Path
from typing import Any

import cells
import numpy as np
import pytest
import torch

from transferlab import results, train
from transferlab.data import labels

RULES = ("rules=all", "oracle=true")
STRATEGIES = [name for name in cells.options("strategy") if cells.adapts(name)]
OTHERS = [name for name in cells.options("strategy") if not cells.adapts(name)]
pytestmark = pytest.mark.slow


def rewritten(file: Path, without: tuple[str, ...], **changed: np.ndarray) -> None:
    with np.load(file) as arrays:
        kept = {name: array for name, array in arrays.items() if name not in without}
    np.savez(file, **{**kept, **changed})


def run(
    strategy: str, folder: Path, study: str, *more: str, without: tuple[str, ...] = (), **changed: np.ndarray
) -> tuple[dict[str, Any], Path]:
    """A run whose target has other labels than it should, and lacks some arrays: its record, and its folder."""
    cell = cells.alone(strategy)
    # what is solved for has one row, and nothing to select
    rules = ("selection=last",) if cells.solves(strategy) else RULES
    source = folder / "own_source.npz"
    # of those that are not about adaptation the matrix takes one file for both sides
    apart = () if cells.adapts(strategy) else (f"source.pretrain.target.data.path={source}",)
    words = cells.command(cell, folder, "trainer.max_epochs=2", f"study={study}", *more, *rules, *apart)
    file = folder / f"{cell.family.kind}-{cell.task}" / "npz.npz"
    if not source.exists():
        shutil.copy(file, source)
    rewritten(file, without, **changed)
    config = cells.composed(words)
    # nothing but the labels tells these apart from those of the other run
    shutil.rmtree(folder / "runs" / results.CANDIDATES, ignore_errors=True)
    return train.run(config), results.folder(config)


def noise(seed: int, size: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, size)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    found = {}
    for file in ("selected.pt", "last.pt"):
        state = torch.load(folder / file, weights_only=True)
        found |= {f"{file} {key}": value for key, value in state.items()}
    return found


def same_training(one: tuple[dict[str, Any], Path], other: tuple[dict[str, Any], Path]) -> None:
    (record, folder), (noisy, beside) = one, other
    assert record["status"] == noisy["status"] == "finished"
    before, after = weights(folder), weights(beside)
    assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)
    assert record["history"] == noisy["history"]
    chosen = [
        {rule: (said["epoch"], said["score"]) for rule, said in found["rules"].items()} for found in (record, noisy)
    ]
    assert chosen[0] == chosen[1]
    assert record["metrics"]["selected"]["epoch"] == noisy["metrics"]["selected"]["epoch"]


@pytest.mark.parametrize("strategy", cells.drawn(4, STRATEGIES))
def test_hidden_training_labels_of_noise_change_nothing(strategy, folder, monkeypatch):
    monkeypatch.chdir(folder)
    true = run(strategy, folder, "true")
    noisy = run(strategy, folder, "hidden", y_train=noise(1))
    same_training(true, noisy)
    # nor does the test split, of which they are none
    assert true[0]["metrics"] == noisy[0]["metrics"]
    assert true[0]["data"]["fingerprints"] == noisy[0]["data"]["fingerprints"]


@pytest.mark.parametrize("strategy", cells.drawn(2, STRATEGIES))
def test_test_labels_of_noise_change_the_test_scores_alone(strategy, folder, monkeypatch):
    monkeypatch.chdir(folder)
    true = run(strategy, folder, "true")
    noisy = run(strategy, folder, "tested", y_test=noise(1))
    same_training(true, noisy)
    assert true[0]["metrics"]["last"]["test/loss"] != noisy[0]["metrics"]["last"]["test/loss"]


@pytest.mark.parametrize("strategy", cells.drawn(2, STRATEGIES))
def test_labels_of_a_transductive_target_of_noise_change_the_test_scores_alone(strategy, folder, monkeypatch):
    monkeypatch.chdir(folder)
    true = run(strategy, folder, "all", "target.test=all")
    noisy = run(strategy, folder, "all_noisy", "target.test=all", y_train=noise(1), y_test=noise(1))
    same_training(true, noisy)
    assert true[0]["metrics"]["last"]["test/loss"] != noisy[0]["metrics"]["last"]["test/loss"]


@pytest.mark.parametrize("strategy", cells.drawn(2, STRATEGIES))
def test_labels_of_a_target_that_is_cut_here_of_noise_change_the_test_scores_alone(strategy, folder, monkeypatch):
    monkeypatch.chdir(folder)
    without = ("x_test", "y_test")
    true = run(strategy, folder, "cut", "target.test=0.25", without=without)
    noisy = run(strategy, folder, "cut_noisy", "target.test=0.25", without=without, y_train=noise(1))
    same_training(true, noisy)
    assert true[0]["data"]["sizes"]["test"] == 4
    # what is solved for says one class a sample, of which as many may be wrong by noise
    assert cells.solves(strategy) or true[0]["metrics"]["last"]["test/loss"] != noisy[0]["metrics"]["last"]["test/loss"]


@pytest.mark.parametrize("strategy", [*cells.drawn(2, STRATEGIES), *cells.drawn(2, OTHERS)])
def test_labels_beyond_the_budget_of_noise_change_nothing(strategy, folder, monkeypatch):
    monkeypatch.chdir(folder)
    seen = np.array([0, 1, 2, 3, 4, 5])  # whose labels an annotator was asked for
    monkeypatch.setattr(labels, "seen", lambda y, *rest: seen)
    more = ("target.labels=3", "target.validation=0.34", "selection=target_val")
    changed = noise(2)
    changed[seen] = seen % 2  # as the set has them
    true = run(strategy, folder, "seen", *more)
    noisy = run(strategy, folder, "beyond", *more, y_train=changed)
    same_training(true, noisy)
    assert true[0]["metrics"] == noisy[0]["metrics"]


def test_the_noise_is_noise():
    assert (noise(1) != np.arange(16) % 2).any() and (noise(2)[6:] != np.arange(6, 16) % 2).any()
