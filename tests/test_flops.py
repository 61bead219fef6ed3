"""FLOPs equal the formula by hand, follow what is frozen, and are counted without touching the training."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch.utils import flop_counter
from torch.utils._python_dispatch import _get_current_dispatch_mode

from transferlab import cli, flops
from transferlab.flops import Flops
from transferlab.module import TransferModule

EPOCHS = 4
RUN = [
    "target=digits",
    "target.labels=6",
    "batch_size=16",
    f"trainer.max_epochs={EPOCHS}",
    "trainer.accelerator=cpu",
    "tracker=none",
]
SIZES = (64, 12, 7, 10)  # input, hidden layers, head
MLP = ["source=none", "backbone=mlp", "backbone.widths=[12,7]", "backbone.input.shape=[1,8,8]"]
STAGES = ("layer1", "layer2", "head")


def run(runs: Path, *words: str) -> dict:
    assert cli.main(["train", *RUN, *words, f"paths.runs={runs}"]) == 0
    return record(runs)


def record(runs: Path) -> dict:
    (file,) = (runs / "default").glob("*/run.json")
    return json.loads(file.read_text())


def of_a_sample(trainable: list[str]) -> int:
    """One sample's forward and backward through linear layers, 2 x in x out for each matrix product.

    Backward takes one product for the gradient of a layer's weights where it trains, and one for the gradient of its
    input where something below trains.
    """
    products = 0
    for place, (stage, (into, out)) in enumerate(zip(STAGES, pairwise(SIZES), strict=True)):
        below = any(other in trainable for other in STAGES[:place])
        products += into * out * (1 + (stage in trainable) + below)
    return 2 * products


@pytest.mark.parametrize(
    "words",
    [
        ["strategy=full_finetune"],
        ["strategy=linear_probe"],
        ["strategy=gradual_unfreezing", "strategy.freezing.every=1"],
        ["strategy=chain_thaw", "strategy.freezing.every=1"],
        ["strategy=surgical"],
        ["strategy=l2_sp"],
    ],
    ids=lambda words: words[0].removeprefix("strategy="),
)
def test_an_mlps_flops_are_those_of_its_matrix_products(words, tmp_path):
    source = ["source=digits", "source.pretrain.max_epochs=1", "source.pretrain.target.labels=10", *MLP[1:]]
    told = run(tmp_path, *(source if words == ["strategy=l2_sp"] else MLP), *words)
    an_epoch, rest = divmod(told["cost"]["samples"], EPOCHS)
    assert rest == 0
    assert told["cost"]["flops"] == sum(of_a_sample(row["trainable"]) * an_epoch for row in told["history"])


def test_the_three_products_of_a_layer_that_trains_in_the_middle():
    assert of_a_sample(["head"]) == 2 * (64 * 12 + 12 * 7 + 2 * 7 * 10)
    assert of_a_sample(list(STAGES)) == 2 * (2 * 64 * 12 + 3 * 12 * 7 + 3 * 7 * 10)


def test_a_frozen_convnet_costs_its_forward_and_the_heads_backward(tmp_path):
    words = ["source=none", "strategy=linear_probe", "backbone.widths=[4,8]", "backbone.input.shape=[1,8,8]"]
    told = run(tmp_path, *words)
    convolutions = 2 * (8 * 8 * 4 * 1 * 9 + 4 * 4 * 8 * 4 * 9)  # output size x channels x channels x kernel
    assert told["cost"]["flops"] == (convolutions + 2 * 2 * 8 * 10) * told["cost"]["samples"]


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("groups", [1, 3, 12])
def test_a_grouped_convolution_costs_what_its_groups_cost_one_by_one(groups, transposed):
    kind = torch.nn.ConvTranspose2d if transposed else torch.nn.Conv2d
    x = torch.randn(2, 12, 9, 9, requires_grad=True)
    together = kind(12, 24, 3, stride=2, groups=groups)
    alone = [kind(12 // groups, 24 // groups, 3, stride=2) for _ in range(groups)]

    def one_by_one():
        outputs = [net(part) for net, part in zip(alone, x.chunk(groups, 1), strict=True)]
        sum(output.sum() for output in outputs).backward()

    _, forward = flops.operations(lambda: together(x))
    _, counted = flops.operations(lambda: together(x).sum().backward())
    assert counted == flops.operations(one_by_one)[1]
    assert counted == 3 * forward


def test_the_sources_batch_is_part_of_what_a_target_sample_costs(tmp_path):
    source = ["source=digits", "source.pretrain.max_epochs=1", "source.pretrain.target.labels=10", *MLP[1:]]
    told = run(tmp_path, *source, "strategy=joint")
    assert told["cost"]["flops"] == 2 * of_a_sample(list(STAGES)) * told["cost"]["samples"]


def net(words: list[str], runs: Path) -> tuple[dict, dict]:
    told = run(runs, *words)
    (folder,) = (path for path in (runs / "default").iterdir() if path.is_dir())
    return told, {name: torch.load(folder / name, weights_only=True) for name in ("selected.pt", "last.pt")}


def same(one: dict, other: dict) -> bool:
    return all(torch.equal(one[file][key], other[file][key]) for file in one for key in one[file])


CONVNET = ["source=none", "backbone.widths=[4,8]", "backbone.input.shape=[1,8,8]", "strategy=gradual_unfreezing"]
NETS = {
    "convnet": [*CONVNET, "strategy.freezing.every=1"],
    "mlp": [*MLP, "strategy=chain_thaw", "strategy.freezing.every=1"],
    "joint": ["source=digits", "source.pretrain.max_epochs=1", "source.pretrain.target.labels=10", "strategy=joint"],
}


@pytest.mark.parametrize("words", NETS.values(), ids=NETS)
def test_counting_changes_no_weight_and_no_score(words, tmp_path, monkeypatch):
    counted, weights = net(words, tmp_path / "counted")
    monkeypatch.setattr(Flops, "on_train_batch_start", lambda *_: None)
    plain, same_weights = net(words, tmp_path / "plain")
    assert counted["cost"]["flops"] > 0
    assert plain["cost"]["flops"] is None
    assert same(weights, same_weights)
    assert plain["metrics"] == counted["metrics"]
    assert plain["history"] == counted["history"]


@pytest.mark.slow
def test_counting_changes_no_weight_of_a_resnet(tmp_path, monkeypatch):
    words = [
        "source=none",
        "backbone=resnet18",
        "backbone.input.shape=[3,32,32]",
        "trainer.max_epochs=2",
        "strategy=scratch",
    ]
    _, weights = net(words, tmp_path / "counted")
    monkeypatch.setattr(Flops, "on_train_batch_start", lambda *_: None)
    assert same(weights, net(words, tmp_path / "plain")[1])


def broken(*_, **__):
    raise ValueError("no formula for this")


def fail_in_a_formula(monkeypatch):
    monkeypatch.setitem(flop_counter.flop_registry, torch.ops.aten.addmm, broken)


def fail_at_the_start(monkeypatch):
    monkeypatch.setattr(flops._Counter, "__enter__", broken)


def know_nothing(monkeypatch):
    monkeypatch.setattr(flop_counter, "flop_registry", {})


@pytest.mark.parametrize("failure", [fail_in_a_formula, fail_at_the_start, know_nothing])
def test_a_counter_that_fails_costs_a_line_and_not_the_run(failure, tmp_path, monkeypatch, capsys):
    _, weights = net(NETS["mlp"], tmp_path / "counted")
    failure(monkeypatch)
    capsys.readouterr()
    told, same_weights = net(NETS["mlp"], tmp_path / "failed")
    assert (told["status"], told["cost"]["flops"]) == ("finished", None)
    assert same(weights, same_weights)
    assert capsys.readouterr().err.count("FLOPs are not counted") == 1


def test_nothing_looks_on_after_a_step_that_failed(tmp_path, monkeypatch):
    monkeypatch.setattr(TransferModule, "training_step", broken)
    assert cli.main(["train", *RUN, *MLP, f"paths.runs={tmp_path}"]) == 1
    assert _get_current_dispatch_mode() is None
    assert record(tmp_path)["cost"]["flops"] is None


def test_a_run_taken_up_again_has_the_flops_of_one_that_was_not_stopped(tmp_path, monkeypatch):
    whole = run(tmp_path / "whole", *NETS["mlp"])
    step = TransferModule.training_step

    def stopping(module, batch, batch_idx):
        if module.current_epoch == 2 and batch_idx == 1:
            broken()
        return step(module, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(TransferModule, "training_step", stopping)
        assert cli.main(["train", *RUN, *NETS["mlp"], f"paths.runs={tmp_path}/again"]) == 1
    assert run(tmp_path / "again", *NETS["mlp"])["cost"]["flops"] == whole["cost"]["flops"]
