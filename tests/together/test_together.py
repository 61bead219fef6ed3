"""`hydra/launcher=vectorized`: every run says what it says alone, and what cannot be batched is trained too."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from records import alike, whole
from transferlab import cli

TOGETHER = "hydra/launcher=vectorized"
WORDS = ["strategy=linear_probe", "source=digits", "target=digits", "backbone.widths=[4,8]", "batch_size=16"]
WORDS += ["source.pretrain.max_epochs=1", "source.pretrain.target.labels=20", "trainer.max_epochs=3"]
WORDS += ["trainer.accelerator=cpu", "tracker=none", "cache=on"]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield


def sweep(study: str, *words: str) -> dict[str, dict[str, Any]]:
    assert cli.main(["train", "-m", *WORDS, f"study={study}", *words]) == 0
    return {file.parent.name: whole(file) for file in Path("runs", study).glob("*/run.json")}


@pytest.mark.parametrize(
    "words",
    [
        ("optimizer=sgd", "optimizer.lr=0.01,0.1", "optimizer.weight_decay=0,0.01", "target.labels=7", "oracle=true"),
        ("optimizer=adamw", "optimizer.lr=0.001,0.1", "seed=0,1", "task/head=mlp", "task.head.widths=[6]"),
        ("optimizer=adam", "optimizer.weight_decay=0,0.1", "target.labels=6,9", "seed=0,1", "task/head=cosine"),
    ],
    ids=["sgd", "adamw", "adam"],
)
def test_runs_that_are_trained_together_say_what_each_says_alone(words: tuple[str, ...]) -> None:
    both = [sweep(study, *words, *more) for study, more in (("together", [TOGETHER]), ("alone", []))]
    together, alone = both
    assert together.keys() == alone.keys()
    assert len(together) in (4, 8)
    for name in alone:
        assert together[name]["environment"]["runtime"]["together"] >= 2
        assert "together" not in alone[name]["environment"]["runtime"]
        assert together[name]["cost"]["cache_hits"] == alone[name]["cost"]["cache_hits"] > 0
        alike(together[name], alone[name])
