"""`strategy.head=source`: the source's own head goes on, on classes of other names but the same number."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from transferlab import cli


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    """Two tables of one kind: the same blobs under other names, and a third class in the second file."""
    rng = np.random.default_rng(0)
    for name, classes in (("source", 2), ("target", 2), ("three", 3)):
        y = np.arange(60) % classes
        x = rng.normal(size=(60, 4)) + 2 * y[:, None]
        np.savez(tmp_path / f"{name}.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    return tmp_path


def train(folder: Path, *words: str, target: str = "target") -> int:
    return cli.main(
        [
            "train",
            *(
                "source=npz",
                f"source.pretrain.target.data.path={folder / 'source.npz'}",
                "source.pretrain.max_epochs=20",
                "source.pretrain.optimizer.lr=0.05",
            ),
            *("target=npz", f"target.data.path={folder / f'{target}.npz'}", "strategy=linear_probe"),
            *("backbone=mlp", "input@backbone.input=table", "backbone.input.shape=[4]", "backbone.widths=[]"),
            *("trainer.max_epochs=1", "trainer.accelerator=cpu", "tracker=none", "diagnostics=none"),
            *("study=heads", f"paths.runs={folder / 'runs'}", *words),
        ]
    )


def test_a_run_without_steps_of_any_size_keeps_the_sources_head(sets):
    assert train(sets, "strategy.head=source", "optimizer.lr=1e-30") == 0
    (run,) = (sets / "runs" / "heads").glob("*/run.json")
    (source,) = (sets / "runs" / "pretraining").glob("*/selected.pt")
    ours, theirs = (torch.load(file, weights_only=True) for file in (run.with_name("last.pt"), source))
    assert {key for key in ours if key.startswith("head.")} == {"head.weight", "head.bias"}
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert json.loads(run.read_text())["metrics"]["last"]["test/accuracy"] > 0.9


def test_a_new_head_is_another(sets):
    assert train(sets, "optimizer.lr=1e-30") == 0
    (run,) = (sets / "runs" / "heads").glob("*/last.pt")
    (source,) = (sets / "runs" / "pretraining").glob("*/selected.pt")
    ours, theirs = (torch.load(file, weights_only=True) for file in (run, source))
    assert not torch.equal(ours["head.weight"], theirs["head.weight"])


def test_a_head_of_other_classes_does_not_fit(sets, capsys):
    assert train(sets, "strategy.head=source", target="three") == 1
    assert "the source's head is {'weight': (2, 4)" in capsys.readouterr().err


def test_a_run_from_random_weights_has_no_head_to_go_on_with(sets, capsys):
    assert train(sets, "strategy.head=source", "strategy.start=random") == 1
    assert "starts from no source" in capsys.readouterr().err
