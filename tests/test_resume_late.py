"""A run that is stopped behind its last step, while it is tested and written, ends as if it had not been."""

import json
from pathlib import Path

import pytest
import torch

from transferlab import cli, training

TINY = [
    *("train", "source=digits", "source.pretrain.max_epochs=1", "source.pretrain.target.labels=10", "target=digits"),
    *("target.labels=10", "batch_size=16", "trainer.max_epochs=3", "trainer.accelerator=cpu", "optimizer.lr=0.3"),
    *("backbone.widths=[4,8]", "backbone.input.shape=[1,8,8]", "tracker=none", "diagnostics=none"),
]
STRATEGIES = {
    "ema": ["strategy=ema"],
    "swa": ["strategy=swa", "strategy.averaging.start=0"],
    "wise_ft": ["strategy=wise_ft", "strategy.freezing.probe_epochs=1", "strategy.interpolation.alpha=0.5"],
    "probe": ["strategy=wise_ft", "strategy.freezing.probe_epochs=9", "strategy.interpolation.alpha=0.5"],
    "merged": ["strategy=lora", "strategy.adapter.save=merged"],
    "norms": ["strategy=bitfit", "strategy.frozen_batchnorm=trains"],
    "both": [
        "strategy=wise_ft",
        "+strategy/adapter=bitfit",
        "strategy/freezing=full",
        "strategy.frozen_batchnorm=trains",
    ],
}


def outcome(runs: Path) -> dict:
    (file,) = (runs / "default").glob("*/run.json")
    record = json.loads(file.read_text())
    assert record["status"] == "finished"
    assert not (file.parent / "kept.pt").exists() and not (file.parent / "resume.ckpt").exists()
    weights = [torch.load(file.parent / name, weights_only=True) for name in ("selected.pt", "last.pt")]
    return {key: record.get(key) for key in ("metrics", "history", "report", "interpolation")} | {"weights": weights}


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("place", ["save_weights", "save_merged"])
def test_a_run_stopped_after_its_last_step_ends_the_same(strategy, place, tmp_path, monkeypatch):
    words = [*TINY, *STRATEGIES[strategy], f"paths.runs={tmp_path / 'whole'}"]
    assert cli.main(words) == 0
    done = getattr(training, place)

    def stopped(*given):
        done(*given)
        monkeypatch.setattr(training, place, done)
        raise KeyboardInterrupt

    # of a run of its own, whose source lies beside the first one's
    own = [*words[:-1], f"paths.runs={tmp_path / 'stopped'}"]
    (tmp_path / "stopped").mkdir()
    (tmp_path / "stopped" / "pretraining").symlink_to(tmp_path / "whole" / "pretraining")
    monkeypatch.setattr(training, place, stopped)
    assert cli.main(own) == 130
    assert cli.main(own) == 0
    whole, again = outcome(tmp_path / "whole"), outcome(tmp_path / "stopped")
    for one, other in zip(whole.pop("weights"), again.pop("weights"), strict=True):
        assert one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())
    assert again == whole
