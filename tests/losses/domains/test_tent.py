import json

import numpy as np
import torch
from sklearn.datasets import load_digits

from transferlab import cli
from transferlab.module import TransferModule


def words(folder):
    """A small convnet between real digits and others that are darker and have no labels."""
    images, y = load_digits(return_X_y=True)
    images = (images / 16).reshape(-1, 1, 8, 8)
    for name, part, light in (("source", slice(600), 1.0), ("target", slice(600, 900), 0.5)):
        np.savez(folder / name, x_train=(light * images[part]).astype("float32"), y_train=y[part])
    return [
        *("train", "strategy=tent", "source=npz", f"source.pretrain.target.data.path={folder}/source.npz"),
        *("target=npz", f"target.data.path={folder}/target.npz", "target.labels=none", "selection=last"),
        *("backbone.input.shape=[1,8,8]", "backbone.widths=[4,8]", "trainer.max_epochs=3", "tracker=none"),
        *("strategy.adapter.save=merged", "diagnostics=none", "trainer.accelerator=cpu", f"paths.runs={folder}"),
    ]


def test_norms_alone_train_on_the_batchs_statistics_and_predictions_become_surer(tmp_path, monkeypatch):
    seen = []
    step = TransferModule.training_step

    def training_step(module, batch, batch_idx):
        norms = [part for part in module.backbone.modules() if isinstance(part, torch.nn.BatchNorm2d)]
        seen.append((tuple(batch), {part.training for part in norms}, module.head.training))
        return step(module, batch, batch_idx)

    monkeypatch.setattr(TransferModule, "training_step", training_step)
    assert cli.main(words(tmp_path)) == 0
    adapting = [step for step in seen if "target" not in step[0]]  # the source's own run has labels
    assert adapting and all(step == (("unlabeled",), {True}, False) for step in adapting)
    (run,) = tmp_path.glob("default/*/run.json")
    (source,) = tmp_path.glob("pretraining/*/selected.pt")
    before, after = (torch.load(file, weights_only=True) for file in (source, run.parent / "selected.pt"))
    norms = {key.rpartition(".")[0] for key in before if "running_mean" in key}
    moved = {key for key, value in before.items() if not torch.equal(value, after[key])}
    assert moved == {key for key in before if key.rpartition(".")[0] in norms}
    rows = json.loads(run.read_text())["history"]
    assert rows[-1]["train/entropy_loss"] < rows[0]["train/entropy_loss"]
