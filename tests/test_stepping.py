"""The steps in the middle of an epoch are Lightning's own, bit for bit, whoever takes them."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate

from records import alike, record
from transferlab import cli, stepping
from transferlab.optim import Schedule, slanted_triangular
from transferlab.partials import settled


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield


def run(study: str, *words: str) -> dict[str, Any]:
    own = ["source=none", "strategy.start=random", "target=digits", "target.labels=6", "backbone.widths=[4,8]"]
    own += ["batch_size=12", "trainer.max_epochs=3", "tracker=none", "trainer.accelerator=cpu", f"study={study}"]
    assert cli.main(["train", *own, *words]) == 0
    return record(study)


@pytest.mark.parametrize(
    "words",
    [
        ("strategy=ema", "scheduler=slanted_triangular"),
        ("strategy=gradual_unfreezing", "strategy.freezing.every=1", "strategy.lr_decay=0.5", "optimizer=sgd"),
        ("strategy=autofreeze", "scheduler.clock=per_stage"),
        ("strategy=linear_probe", "cache=on", "trainer.precision=bf16-mixed"),
    ],
    ids=["averaged", "unfreezing", "listening", "cached"],
)
def test_a_run_is_the_same_with_all_batches_going_lightnings_way(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    go_on = stepping.Epoch._go_on

    def counted(loop: stepping.Epoch, batches: Any, count: int) -> None:
        taken.append(count)
        go_on(loop, batches, count)

    monkeypatch.setattr(stepping.Epoch, "_go_on", counted)
    ours = run("ours", *words)
    assert taken == [3, 3, 3]  # five batches, without the first and the last
    monkeypatch.setattr(stepping, "plain", lambda trainer: False)
    alike(run("lightnings", *words), ours, exactly=True)
    assert len(taken) == 3


@pytest.mark.parametrize(
    "word",
    [
        "trainer.gradient_clip_val=0.5",
        "trainer.accumulate_grad_batches=2",
        "+trainer.val_check_interval=0.5",
        "+trainer.max_time={hours:1}",
    ],
)
def test_what_asks_for_more_of_a_step_is_lightnings(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(loop: stepping.Epoch, batches: Any, count: int) -> None:
        raise AssertionError("the steps were not left to Lightning")

    monkeypatch.setattr(stepping.Epoch, "_go_on", refused)
    run("lightnings", "strategy=full_finetune", word)


def test_a_function_from_the_config_is_not_asked_about_at_each_call() -> None:
    node = {"_target_": "transferlab.optim.slanted_triangular", "_partial_": True, "cut_frac": 0.25, "ratio": 8.0}
    given = instantiate(node)
    schedule = Schedule(given, warmup=0.0, clock="global")
    assert type(given) is not partial
    assert type(schedule.shape) is type(settled(given)) is partial
    assert schedule.shape(0.5) == slanted_triangular(0.5, cut_frac=0.25, ratio=8.0)
    assert settled(torch.sin) is torch.sin
