"""Short runs on digits, from digits, by the real command."""

from typing import Any

from records import record
from transferlab import cli

EPOCHS, BATCHES, SAMPLES = 4, 5, 50  # of training, 12 to a batch
SCHEDULES = {
    "linear_probe": (),
    "top_k": (),
    "surgical": ("strategy.freezing.train=[-1]",),
    "lp_ft": ("strategy.freezing.probe_epochs=2",),
    "gradual_unfreezing": ("strategy.freezing.every=1",),
    # stages freeze again after they have trained
    "chain_thaw": ("strategy.freezing.every=1",),
    "autofreeze": (),
    "plateau_unfreezing": ("strategy.freezing.patience=1", "strategy.freezing.min_delta=9"),
}


def words(strategy: str, *more: str) -> list[str]:
    return [
        *("train", f"strategy={strategy}", *SCHEDULES.get(strategy, ()), "source=digits", "target.labels=6"),
        *("batch_size=12", f"trainer.max_epochs={EPOCHS}", "source.pretrain.max_epochs=1"),
        *(
            "source.pretrain.target.labels=20",
            "backbone.widths=[4,8]",
            "tracker=none",
            "trainer.accelerator=cpu",
            *more,
        ),
    ]


def run(strategy: str, *more: str, study: str = "s") -> dict[str, Any]:
    assert cli.main(words(strategy, f"study={study}", *more)) == 0
    return record(study)
