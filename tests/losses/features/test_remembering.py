"""What losses remember from step to step: taken in once a training step, and the same after an interruption."""

import json

import pytest
import torch

from transferlab import cli
from transferlab.module import TransferModule

EPOCHS = 3
WORDS = [
    *("train", "source=digits", "source.pretrain.max_epochs=1", "source.pretrain.target.labels=10", "target=digits"),
    *("target.labels=5", "batch_size=16", "backbone.widths=[4,8]", "backbone.input.shape=[1,8,8]", "tracker=none"),
    *("diagnostics=all", "diagnostics.share=1", "oracle=true", f"trainer.max_epochs={EPOCHS}", "seed=3"),
    *("trainer.accelerator=cpu", "strategy=bi_tuning", "+strategy/loss@strategy.losses.crd=crd"),
    *("strategy.losses.bi_tuning.queue=50", "strategy.losses.crd.queue=50"),
]


@pytest.fixture
def seen(monkeypatch):
    """How many samples each queue has taken in, after every epoch of the target's run."""
    found = []
    ended = TransferModule.on_train_epoch_end

    def counting(module):
        ended(module)
        if "bi_tuning" in module.losses:
            queues = module.losses["bi_tuning"].queue, module.losses["crd"].contrasts["source"][0].queue
            found.append([int(queue.pushed) for queue in queues])

    monkeypatch.setattr(TransferModule, "on_train_epoch_end", counting)
    return found


def run(folder, study):
    code = cli.main([*WORDS, f"paths.runs={folder}", f"study={study}"])
    (file,) = (folder / study).glob("*/run.json")
    return code, json.loads(file.read_text()), file.parent


@pytest.mark.slow
def test_queues_take_in_each_training_sample_once_an_epoch_and_go_on_after_an_interruption(tmp_path, seen, monkeypatch):
    code, whole, folder = run(tmp_path, "whole")
    assert code == 0
    assert "diagnostics/gradient_cosine/bi_tuning" in whole["history"][-1]  # it was looked at, and not fed
    samples = whole["cost"]["samples"] // EPOCHS
    assert seen == [[samples * epoch] * 2 for epoch in range(1, EPOCHS + 1)]

    step = TransferModule.training_step

    def deadly(module, batch, batch_idx):
        if "bi_tuning" in module.losses and module.current_epoch == 1 and batch_idx == 1:
            raise KeyboardInterrupt
        return step(module, batch, batch_idx)

    monkeypatch.setattr(TransferModule, "training_step", deadly)
    _, stopped, _ = run(tmp_path, "again")
    assert stopped["status"] == "interrupted"
    monkeypatch.setattr(TransferModule, "training_step", step)
    code, again, second = run(tmp_path, "again")
    assert code == 0 and again["history"] == whole["history"]
    for file in ("last.pt", "selected.pt"):
        one, two = (torch.load(place / file, weights_only=True) for place in (folder, second))
        assert all(torch.equal(one[key], two[key]) for key in one)
