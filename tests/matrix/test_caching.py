"""What enters the net behind its frozen stages gives the record that the whole way gives.

On families of nets, each gradually unfrozen, so that batches enter at the features, then nearer and nearer to the
input; and under strategies. Some of each are drawn by the day's seed; TRANSFERLAB_MATRIX_WHOLE=1 takes all.
"""

import shutil
from pathlib import Path
from typing import Any

import cells
import pytest
import torch

from records import alike
from transferlab import results, train

pytestmark = pytest.mark.slow
WEIGHTS = ("selected.pt", "last.pt")
TASKS = ("classification", "rating", "retrieval", "translation")  # the first that a family has


def first_task(family: cells.Family, strategy: str) -> cells.Cell | None:
    found = (cells.Cell(strategy, family, task) for task in TASKS)
    return next((cell for cell in found if cells.gap(cell) is None), None)


@pytest.mark.parametrize("family", cells.drawn(5, cells.families()), ids=lambda family: family.name.replace(" ", "_"))
def test_the_record_is_the_same_with_the_cache_on_every_family(family, folder, monkeypatch):
    cell = first_task(family, "gradual_unfreezing")
    assert cell is not None
    record, plain = both(cell, folder, monkeypatch, *cells.EARLY["gradual_unfreezing"])
    # group normalisation over time, as these nets have it, makes a feature of how far a wave is padded
    padded = family.builder.startswith("huggingface.audio.waves")
    assert (record["cost"]["cache_hits"] == 0) == padded
    same(record, plain)


def both(
    cell: cells.Cell, folder: Path, monkeypatch: pytest.MonkeyPatch, *more: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The records of a cell's run with the cache and without, in double precision: round-off grows in training."""
    monkeypatch.chdir(folder)
    records = []
    for use in ("on", "off"):
        exact = ("trainer.max_epochs=3", "trainer.precision=64-true", f"cache={use}", f"study={use}")
        config = cells.composed(cells.command(cell, folder, *exact, *more))
        record = train.run(config)
        weights = {name: torch.load(results.folder(config) / name, weights_only=True) for name in WEIGHTS}
        shutil.rmtree(results.folder(config))
        records.append({**record, **weights})
    return records[0], records[1]


def same(cached: dict[str, Any], plain: dict[str, Any]) -> None:
    assert plain["cost"]["cache_hits"] == 0
    alike(cached, plain, within=1e-5)


@pytest.mark.parametrize("strategy", cells.drawn(5, cells.options("strategy")))
def test_the_record_is_the_same_with_the_cache_under_every_strategy(strategy, folder, monkeypatch):
    record, plain = both(cells.alone(strategy), folder, monkeypatch, *cells.EARLY.get(strategy, ()))
    same(record, plain)
