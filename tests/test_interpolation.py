"""WiSE-FT: what lies between the start and the selected epoch, and that no test score chooses it."""

import json
from pathlib import Path

import pytest
import torch

from transferlab import cli
from transferlab.errors import InputError
from transferlab.interpolation import Interpolation, between


def test_it_is_a_straight_line_between_two_nets():
    before, after = ({"w": torch.randn(3, 2), "seen": torch.tensor(n)} for n in (4, 9))
    found = between(before, after, 0.3)
    torch.testing.assert_close(found["w"], 0.7 * before["w"] + 0.3 * after["w"])
    assert found["seen"] == 9
    for alpha, end in ((0.0, before), (1.0, after)):
        assert torch.equal(between(before, after, alpha)["w"], end["w"])


@pytest.mark.parametrize("build", [lambda: Interpolation(1.2, []), lambda: Interpolation(0.5, [-0.1])])
def test_an_alpha_beyond_the_ends_is_refused(build):
    with pytest.raises(InputError, match=r"is not in \[0, 1\]"):
        build()


def test_a_choice_needs_something_to_choose_from():
    with pytest.raises(InputError, match="curve, which is empty"):
        Interpolation(None, [])


def train(runs: Path, study: str, *words: str) -> tuple[dict, Path]:
    command = [
        *("train", "source=digits", "target=digits", "target.labels=10", "batch_size=16", "backbone.widths=[4,8]"),
        *("trainer.max_epochs=4", "backbone.input.shape=[1,8,8]", "source.pretrain.max_epochs=1"),
        *("source.pretrain.target.labels=10", "tracker=none", "diagnostics=none", "trainer.accelerator=cpu"),
        *("optimizer.lr=0.1", f"study={study}", f"paths.runs={runs}", *words),
    ]
    assert cli.main(command) == 0
    (file,) = (runs / study).glob("*/run.json")
    return json.loads(file.read_text()), file.parent


WISE = ("strategy=wise_ft", "strategy.freezing.probe_epochs=2")


def test_its_ends_are_the_probe_and_fine_tuning(tmp_path):
    record, folder = train(tmp_path, "wise", *WISE, "strategy.interpolation.alpha=0.4")
    tuned, _ = train(tmp_path, "tuned", "strategy=lp_ft", "strategy.freezing.probe_epochs=2")
    probe, kept = train(tmp_path, "probe", *WISE, "strategy.interpolation.alpha=0")
    curve = {row["alpha"]: row for row in record["interpolation"]["curve"]}
    assert list(curve) == [0, 0.25, 0.4, 0.5, 0.75, 1]
    selected = tuned["metrics"]["selected"]
    assert {key: curve[1.0][key] for key in selected if "/" in key} == {k: v for k, v in selected.items() if "/" in k}
    # what is tested and kept is the alpha asked for; training and its history are those of fine-tuning
    assert record["metrics"]["selected"]["test/loss"] == curve[0.4]["test/loss"]
    assert record["metrics"]["last"] == tuned["metrics"]["last"] and record["history"] == tuned["history"]
    ends = [torch.load(tmp_path / name, weights_only=True) for name in (kept / "selected.pt",)]
    ends.append(torch.load(next((tmp_path / "tuned").glob("*/selected.pt")), weights_only=True))
    middle = torch.load(folder / "selected.pt", weights_only=True)
    torch.testing.assert_close(middle["head.weight"], torch.lerp(*(end["head.weight"] for end in ends), 0.4))
    # the probe alone: the backbone is the source's
    source = torch.load(Path(probe["data"]["source_weights"]), weights_only=True)
    still = [key for key in source if key.startswith("backbone.") and source[key].is_floating_point()]
    assert still and all(torch.equal(ends[0][key], source[key]) for key in still)


def test_without_an_alpha_validation_chooses(tmp_path):
    words = (
        "strategy.interpolation.alpha=null",
        "selection.metric=val/loss",
        "strategy.interpolation.curve=[0,0.3,0.6,1]",
    )
    record, _ = train(tmp_path, "wise", *WISE, *words)
    chosen = min(record["interpolation"]["curve"], key=lambda row: row["val/loss"])
    assert record["interpolation"]["alpha"] == chosen["alpha"]
    assert record["metrics"]["selected"]["val/loss"] == chosen["val/loss"]
    assert record["metrics"]["selected"]["test/loss"] == chosen["test/loss"]


def test_without_held_out_labels_nothing_can_be_chosen(tmp_path, capsys):
    words = ["train", *WISE, "source=none", "target=digits", "target.validation=0", "selection=last"]
    words += ["strategy.interpolation.alpha=null", "trainer.max_epochs=1", "tracker=none", f"paths.runs={tmp_path}"]
    assert cli.main([*words, "target.labels=2", "backbone.input.shape=[1,8,8]", "backbone.widths=[4]"]) == 1
    assert "set target.validation, or an alpha" in capsys.readouterr().err
