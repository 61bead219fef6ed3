"""Small nets to adapt, and runs of them."""

import copy
import json
from pathlib import Path

import torch

from transferlab import cli
from transferlab.backbones.small import convnet, mlp
from transferlab.inputs.arrays import ArrayInput
from transferlab.module import TransferModule

IMAGES = ArrayInput.of(1, 8, 8)


def of_images(widths=(4, 6)):
    torch.manual_seed(0)
    return convnet(IMAGES, list(widths)), IMAGES.example(3)


def of_vectors(widths=(5, 4)):
    torch.manual_seed(0)
    return mlp(IMAGES, list(widths)), IMAGES.example(3)


def adapted(adapter, made, seed=1):
    """The net as it was, the same net with the adapter in it, and an input."""
    plain, x = made
    net = copy.deepcopy(plain)
    torch.manual_seed(seed)
    adapter.insert(net, x)
    return plain.eval(), net.eval(), x


def stirred(net):
    """With numbers in everything that the adapter lets change, so that zeros hide nothing."""
    torch.manual_seed(2)
    with torch.no_grad():
        for name, parameter in net.net.named_parameters():
            if name in net.changing():
                parameter.add_(torch.randn_like(parameter) / 4)
    return net


PRETRAINED = ("source=digits", "source.pretrain.max_epochs=1", "source.pretrain.target.labels=10")


def train(runs: Path, study: str, *words: str, source=PRETRAINED, status=0) -> tuple[dict, Path]:
    """The record and the folder of a tiny run."""
    command = [
        *("train", *source, "target=digits", "target.labels=10", "batch_size=16", "trainer.max_epochs=3"),
        *("backbone.widths=[4,8]", "backbone.input.shape=[1,8,8]", "trainer.accelerator=cpu", "optimizer.lr=0.05"),
        *("tracker=none", "diagnostics=none", f"study={study}", f"paths.runs={runs}", *words),
    ]
    assert cli.main(command) == status
    (file,) = (runs / study).glob("*/run.json")
    return json.loads(file.read_text()), file.parent


def watched(monkeypatch) -> tuple[list[TransferModule], list[dict[str, torch.Tensor]]]:
    """Of every epoch from now on: the module, and its state as the epoch began."""
    modules, starts = [], []
    step = TransferModule.on_train_epoch_start

    def start(module):
        step(module)
        modules.append(module)
        starts.append({key: value.clone() for key, value in module.state_dict().items()})

    monkeypatch.setattr(TransferModule, "on_train_epoch_start", start)
    return modules, starts
