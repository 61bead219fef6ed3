"""Averaged weights: the formulas, and that the net shows them where it is measured and nowhere else."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.optim.swa_utils import AveragedModel, update_bn

from transferlab import acting, cli
from transferlab.averaging import Average, adabn, ema, recompute, swa
from transferlab.backbones.small import convnet, mlp
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput
from transferlab.module import TransferModule

EPOCHS, BATCHES = 4, 4  # 60 samples by 16


def averaged(averaging, values):
    average = Average()
    for value in values:
        average.add({"w": torch.tensor(value)}, averaging.share(average.count))
    return float(average.state["w"])


def test_stochastic_weight_averaging_is_the_mean():
    values = torch.randn(9).tolist()
    assert averaged(swa(0.0, "averaged"), values) == pytest.approx(sum(values) / 9, abs=1e-6)


def test_the_exponential_average_is_its_recursion():
    values = torch.randn(40).tolist()
    expected = values[0]
    for t, value in enumerate(values[1:]):
        decay = min(0.8, (1 + t) / (10 + t))
        expected = decay * expected + (1 - decay) * value
    assert averaged(ema(0.8, 0.0, "averaged"), values) == pytest.approx(expected, abs=1e-6)
    assert averaged(ema(0.0, 0.0, "averaged"), values) == values[-1]


def test_weights_that_stand_still_are_their_average():
    assert averaged(ema(0.99, 0.0, "averaged"), [0.3] * 50) == pytest.approx(0.3)
    assert averaged(swa(0.0, "averaged"), [0.3] * 50) == pytest.approx(0.3)


def test_counters_are_not_averaged():
    average = Average()
    for number in (1, 2, 7):
        average.add({"batches": torch.tensor(number)}, 0.5)
    assert average.state["batches"] == 7


@pytest.mark.parametrize(
    "build",
    [lambda: ema(1.0, 0.0, "averaged"), lambda: swa(1.0, "averaged"), lambda: swa(0.5, "fresh")],
)
def test_what_is_no_average_is_refused(build):
    with pytest.raises(InputError, match=r"strategy\.averaging"):
        build()


def test_recomputed_statistics_are_torchs_and_frozen_layers_keep_theirs():
    torch.manual_seed(0)
    backbone = convnet(ArrayInput.of(2, 8, 8), [3, 4])
    batches = [torch.randn(5, 2, 8, 8) for _ in range(4)]
    theirs = AveragedModel(backbone)
    update_bn(batches, theirs)
    backbone.train()
    recompute(backbone, batches)
    for name, tensor in backbone.named_buffers():
        torch.testing.assert_close(tensor, dict(theirs.module.named_buffers())[name])
    assert backbone.training and all(m.momentum == 0.1 for m in backbone.modules() if isinstance(m, nn.BatchNorm2d))
    backbone.set_trainable(["block2"])
    before = {name: tensor.clone() for name, tensor in backbone.named_buffers()}
    recompute(backbone, [3 * batch for batch in batches])
    moved = {name for name, tensor in backbone.named_buffers() if not torch.equal(tensor, before[name])}
    assert moved and all(".block2." in name or "block2" in name for name in moved)


def train(runs: Path, study: str, *words: str) -> Path:
    command = [
        *("train", "source=digits", "target=digits", "target.labels=6", "batch_size=16", "backbone.widths=[4,8]"),
        *(f"trainer.max_epochs={EPOCHS}", "backbone.input.shape=[1,8,8]", "source.pretrain.max_epochs=1"),
        *("source.pretrain.target.labels=10", "tracker=none", "diagnostics=none", "trainer.accelerator=cpu"),
        *("optimizer.lr=0.1", "selection=last", "target.validation=0", f"study={study}", f"paths.runs={runs}", *words),
    ]
    assert cli.main(command) == 0
    (file,) = (runs / study).glob("*/run.json")
    return file.parent


def test_statistics_are_recomputed_on_what_the_net_trains_on(tmp_path, monkeypatch):
    trained, read = [], []
    step = TransferModule.training_step

    def training_step(module, batch, batch_idx):
        trained.append(batch["target"][0].clone())
        return step(module, batch, batch_idx)

    monkeypatch.setattr(TransferModule, "training_step", training_step)
    monkeypatch.setattr(acting, "recompute", lambda backbone, batches: read.append(torch.cat(list(batches))))
    train(tmp_path, "swa", "strategy=swa", "trainer.max_epochs=2")
    rows = torch.cat(trained[-BATCHES:]).flatten(1)
    assert torch.equal(rows.unique(dim=0), read[0].flatten(1).unique(dim=0))


def test_the_net_that_is_kept_is_the_mean_of_the_epochs_ends(tmp_path, monkeypatch):
    starts = []
    step = TransferModule.on_train_epoch_start

    def start(module):
        starts.append({key: value.clone() for key, value in module.state_dict().items()})
        step(module)

    monkeypatch.setattr(TransferModule, "on_train_epoch_start", start)
    plain = train(tmp_path, "plain", "strategy=full_finetune")
    last = torch.load(plain / "last.pt", weights_only=True)
    ends = [*starts[-EPOCHS + 1 :], last]  # what epochs begin with is what the ones before ended with
    swa_run = train(
        tmp_path, "swa", "strategy=swa", "strategy.averaging.start=0", "strategy.averaging.batchnorm=averaged"
    )
    kept = torch.load(swa_run / "last.pt", weights_only=True)
    for key, value in kept.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, torch.stack([end[key] for end in ends]).mean(0))
    # training itself went on from its own weights
    histories = [json.loads((run / "run.json").read_text())["history"] for run in (plain, swa_run)]
    assert [row["train/task_loss"] for row in histories[0]] == [row["train/task_loss"] for row in histories[1]]


def apart(folder: Path) -> list[str]:
    """Real digits as a source, and others, darker and without labels, as a target."""
    images, y = load_digits(return_X_y=True)
    images = (images / 16).reshape(-1, 1, 8, 8)
    for name, part, light in (("source", slice(200), 1.0), ("target", slice(200, 400), 0.5)):
        np.savez(folder / name, x_train=(light * images[part]).astype("float32"), y_train=y[part])
    own = [f"target.data.path={folder}/target.npz", "target.labels=none"]
    return ["source=npz", f"source.pretrain.target.data.path={folder}/source.npz", "target=npz", *own]


def test_with_statistics_of_the_target_the_weights_are_the_last_and_the_statistics_torchs(tmp_path, monkeypatch):
    read = []

    def recomputed(backbone, batches):
        read.append(list(batches))
        recompute(backbone, read[-1])

    monkeypatch.setattr(acting, "recompute", recomputed)
    data = apart(tmp_path)
    found, plain = (
        torch.load(train(tmp_path, name, f"strategy={name}", *data) / "last.pt", weights_only=True)
        for name in ("adabn", "source_only")
    )
    assert [sum(map(len, batches)) for batches in read] == [140] * EPOCHS  # what is no test sample of the target
    theirs = convnet(ArrayInput.of(1, 8, 8), [4, 8])
    theirs.load_state_dict({k.removeprefix("backbone."): v for k, v in plain.items() if k.startswith("backbone.")})
    update_bn(read[-1], theirs)
    for key, value in theirs.state_dict().items():
        torch.testing.assert_close(found[f"backbone.{key}"], value)
    assert all(torch.equal(found[key], plain[key]) for key in plain if "running" not in key and "tracked" not in key)
    assert any(not torch.allclose(found[key], plain[key], rtol=0.1) for key in plain if "running_mean" in key)


def test_without_a_memory_the_average_is_the_last_and_the_targets_statistics_read_the_target():
    assert averaged(adabn(), [3.0, 1.0, 2.0]) == 2.0
    assert adabn().studies == {"unlabeled"} and not swa(0.0, "recomputed").studies


def test_a_net_without_batchnorm_has_no_statistics_of_the_target(tmp_path, capsys):
    adabn().check(convnet(ArrayInput.of(1, 8, 8), [4]))
    swa(0.0, "recomputed").check(mlp(ArrayInput.of(6), [5]))
    words = ["strategy=adabn", "backbone=mlp", "backbone.input.shape=[1,8,8]", *apart(tmp_path), "tracker=none"]
    assert cli.main(["train", *words, "selection=last", f"paths.runs={tmp_path}"]) == 1
    assert "has no BatchNorm: choose another backbone" in capsys.readouterr().err
    assert not list(tmp_path.glob("pretraining/*"))  # it is said before a source trains
