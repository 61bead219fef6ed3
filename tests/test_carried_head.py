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


def test_l2_sp_keeps_a_carried_head_where_it_was(sets):
    pulled = ("strategy=l2_sp", "strategy.losses.l2_sp.alpha=1e6", "optimizer.lr=1e-7", "trainer.max_epochs=5")
    assert train(sets, "strategy.head=source", *pulled) == 0
    (run,) = (sets / "runs" / "heads").glob("*/last.pt")
    (source,) = (sets / "runs" / "pretraining").glob("*/selected.pt")
    ours, theirs = (torch.load(file, weights_only=True) for file in (run, source))
    # pulled to zero at this rate it would have lost most of its length
    torch.testing.assert_close(ours["head.weight"], theirs["head.weight"], rtol=1e-3, atol=1e-3)


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


def test_a_head_that_starts_from_names_starts_at_random_where_nothing_is_transferred(sets, capsys):
    """The twin: with a source these rows of 1,280 numbers do not fit the backbone, and without one nobody asks them."""
    assert train(sets, "task/head=text_prototypes") == 1
    assert "directions of 1280 features, backbone 'mlp' has 4" in capsys.readouterr().err
    assert train(sets, "task/head=text_prototypes", "strategy=scratch") == 0


def test_a_head_that_starts_from_names_needs_a_task_of_classes(sets, capsys):
    file = sets / "numbers.npz"
    x = np.random.default_rng(0).normal(size=(60, 4))
    np.savez(file, x_train=x, y_train=x[:, :1], x_test=x, y_test=x[:, :1])
    words = ("task/head=text_prototypes", "task=regression", f"source.pretrain.target.data.path={file}")
    assert train(sets, *words, target="numbers") == 1
    assert "starts from the names of its classes" in capsys.readouterr().err
