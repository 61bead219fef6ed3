"""Forgetting is the share of samples classed right, counted one by one."""

from pathlib import Path

import pytest
import torch
from torch import nn

from transferlab.backbones.base import Backbone
from transferlab.backbones.small import mlp
from transferlab.backbones.stages import Stage
from transferlab.data.module import TransferData
from transferlab.data.parts import Parts
from transferlab.data.ragged import Ragged
from transferlab.data.samples import InMemory
from transferlab.diagnostics.forgetting import correct, forgetting, set_exam
from transferlab.diagnostics.probe import Probe
from transferlab.inputs.arrays import ArrayInput
from transferlab.tasks.classification import Classification
from transferlab.values import Seq, masked_mean

TASK = Classification(nn.Linear, "accuracy", None, 0.0, 0.0, "cross_entropy")


@pytest.fixture
def samples() -> InMemory:
    draws = torch.Generator().manual_seed(0)
    return InMemory(torch.randn(90, 4, generator=draws), torch.randint(0, 3, (90,), generator=draws))


@pytest.fixture
def data(samples: InMemory) -> TransferData:
    parts = Parts(samples, None, samples, ("a", "b", "c"), 90)
    return TransferData(parts, None, frozenset({"target"}), ArrayInput.of(4), False, 4, 0, 0)


def nets() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(1)
    return mlp(ArrayInput.of(4), [8]), nn.Linear(8, 3)


def test_right_is_what_has_the_highest_output(samples: InMemory, data: TransferData) -> None:
    backbone, head = nets()
    one_by_one = [bool(head(backbone(x[None]))[0].argmax() == y) for x, y in zip(samples.x, samples.y, strict=True)]
    assert correct(backbone, head, TASK, Probe(samples.x, samples.y, data)).tolist() == one_by_one
    assert 0 < sum(one_by_one) < 90


def test_an_exam_is_set_once_and_read_again(samples: InMemory, data: TransferData, tmp_path: Path) -> None:
    backbone, head = nets()
    file = tmp_path / "selected.pt"
    first = set_exam(file, lambda: samples, TASK, backbone, head, data)
    again = set_exam(file, lambda: pytest.fail("read twice"), TASK, backbone, head, data)
    assert torch.equal(first.questions.x, again.questions.x)
    assert torch.equal(first.right, again.right)
    before = forgetting(again, backbone, 60)
    assert before["samples"] == 60
    assert before["source_accuracy_before"] == before["source_accuracy_after"]
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.neg_()
    after = forgetting(again, backbone, 60)
    right = correct(backbone, head, TASK, Probe(first.questions.x[:60], first.questions.y[:60], data))
    assert after["source_accuracy_after"] == pytest.approx(float(right.float().mean()))
    assert after["source_accuracy_before"] == before["source_accuracy_before"]
    assert forgetting(again, backbone, 0) is None


class Frames:
    """An input of frames, as they are."""

    kind = "frames"

    def normalised(self, x: Seq) -> Seq:
        return x

    def example(self, count: int) -> Seq:
        return Seq(torch.ones(count, 3, 4), torch.ones(count, 3).bool())


def mean_frame(net: nn.Module, x: Seq) -> torch.Tensor:
    return masked_mean(x)


def test_an_exam_of_sequences_is_read_again_as_it_was_set(tmp_path: Path) -> None:
    draws = torch.Generator().manual_seed(0)
    frames = Ragged.of([torch.randn(length, 4, generator=draws) for length in (3, 7, 5)], torch.tensor([0, 1, 2]))
    parts = Parts(frames, None, frames, ("a", "b", "c"), 3)
    data = TransferData(parts, None, frozenset(), Frames(), reconstructs=False, batch_size=4, workers=0, seed=0)
    torch.manual_seed(1)
    stages = [Stage("layer", ["0"]), Stage("pool", [mean_frame])]
    backbone, head = Backbone(nn.Sequential(nn.Linear(4, 8)), stages, 8, "net", tail="pool"), nn.Linear(8, 3)
    file = tmp_path / "selected.pt"
    first = set_exam(file, lambda: frames, TASK, backbone, head, data)
    again = set_exam(file, lambda: pytest.fail("read twice"), TASK, backbone, head, data)
    assert isinstance(again.questions.x, Seq)
    assert all(torch.equal(one, other) for one, other in zip(first.questions.x, again.questions.x, strict=True))
    one_by_one = [head(backbone.net(frames[[i]][0].h).mean(1)).argmax() == frames.y[i] for i in range(3)]
    said = forgetting(again, backbone, 9)
    assert said["source_accuracy_before"] == said["source_accuracy_after"] == pytest.approx(sum(one_by_one) / 3)
