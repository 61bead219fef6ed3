"""A few cells of the coverage matrix, others every day; `make coverage` runs them all and writes docs/coverage.md."""

import os
import random
from math import isfinite

import cells
import pytest

SEED = int(os.environ["TRANSFERLAB_TEST_SEED"])  # tests/conftest.py sets and shows it
SIZE = 9
RUN = [cell for cell in cells.cells() if cells.gap(cell) is None]


def sample(size: int) -> list[cells.Cell]:
    """Cells drawn by the seed, no two of one family and task while there are others."""
    shuffled = random.Random(SEED).sample(RUN, len(RUN))
    first = {(cell.family.name, cell.task): cell for cell in reversed(shuffled)}
    return [cell for cell in shuffled if first[cell.family.name, cell.task] is cell][:size]


@pytest.mark.slow
@pytest.mark.parametrize("cell", sample(SIZE), ids=lambda cell: cell.name)
def test_a_strategy_trains_a_backbone_on_a_task_for_two_steps(cell, folder, monkeypatch):
    monkeypatch.chdir(folder)
    record = cells.run(cell, folder)
    assert record["status"] == "finished"
    size = record["data"]["sizes"]["unlabeled" if cells.adapts(cell.strategy) else "train"]
    passes, left = divmod(record["cost"]["samples"], size)
    assert left == 0 and (passes == 1 or cell.strategy == "linear_probe_lbfgs")
    assert size > cells.BATCH
    assert isfinite(record["metrics"]["last"]["test/loss"])


def test_every_strategy_backbone_and_task_has_a_cell_that_runs():
    assert {cell.strategy for cell in RUN} == set(cells.options("strategy"))
    assert {cell.task for cell in RUN} == set(cells.options("task"))
    assert {cell.family for cell in RUN} == set(cells.families())


def test_every_empty_cell_says_why():
    reasons = [cells.gap(cell) for cell in cells.cells()]
    assert all(reason is None or len(reason) > 10 for reason in reasons)
    assert any(reasons)
