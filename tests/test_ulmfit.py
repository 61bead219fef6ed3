"""ULMFiT is one yaml made of three parts, each of which can be had without the others."""

import json

import pytest

from transferlab import cli
from transferlab.composing import Composer


@pytest.fixture(scope="module")
def parts():
    """The schedule's shape, the freezing and the factor between stages, as a command line composes them."""
    with Composer() as composer:

        def composed(*overrides):
            config = composer.check(overrides, multirun=False).config
            shape, freezing = config.scheduler.shape._target_, config.strategy.freezing._target_
            return shape.rpartition(".")[2], freezing.rpartition(".")[2], config.strategy.lr_decay

        yield composed


def test_it_brings_its_three_parts_and_only_for_itself(parts):
    assert parts("strategy=ulmfit") == ("slanted_triangular", "gradual_unfreezing", pytest.approx(1 / 2.6, rel=1e-7))
    assert parts("strategy=gradual_unfreezing") == ("cosine", "gradual_unfreezing", 1.0)


@pytest.mark.parametrize(
    ("override", "left"),
    [
        ("scheduler=warmup_cosine", ("cosine", "gradual_unfreezing", 1 / 2.6)),
        ("strategy/freezing=full", ("slanted_triangular", "full", 1 / 2.6)),
        ("strategy.lr_decay=1.0", ("slanted_triangular", "gradual_unfreezing", 1.0)),
    ],
)
def test_each_part_can_be_taken_away_on_the_command_line(parts, override, left):
    shape, freezing, decay = parts("strategy=ulmfit", override)
    assert (shape, freezing) == left[:2] and decay == pytest.approx(left[2], rel=1e-7)


@pytest.mark.slow
def test_each_stage_has_a_triangle_of_its_own_from_the_epoch_in_which_it_thaws(tmp_path):
    words = ["strategy=ulmfit", "source=none", "target=digits", "target.labels=10", "backbone.widths=[4,8]"]
    words += ["backbone.input.shape=[1,8,8]", "trainer.max_epochs=4", "trainer.accelerator=cpu", "optimizer.lr=0.1"]
    assert cli.main(["train", *words, "diagnostics=none", "tracker=none", f"paths.runs={tmp_path}"]) == 0
    (file,) = tmp_path.glob("*/*/run.json")
    rates = [row["lr"] for row in json.loads(file.read_text())["history"]]
    for thawed, (stage, height) in enumerate([("head", 0.1), ("backbone/block2", 0.1 / 2.6)]):
        assert [row[stage] for row in rates[:thawed]] == [0.0] * thawed
        assert rates[thawed][stage] == pytest.approx(height / 32, rel=1e-6)
    # the head's falls in a straight line from a tenth of training on
    falls = [1 - (epoch / 4 - 0.1) / 0.9 for epoch in (1, 2, 3)]
    assert [row["head"] for row in rates[1:]] == pytest.approx([0.1 * (1 + p * 31) / 32 for p in falls], rel=1e-6)
