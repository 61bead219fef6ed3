"""Forgetting is the share of samples classed right, counted one by one."""

from pathlib import Path

import pytest
import torch
from torch import nn

from transferlab.backbones.small import mlp
from transferlab.data.module import TransferData
from transferlab.data.samples import InMemory
from transferlab.data.target import Parts
from transferlab.diagnostics.forgetting import correct, forgetting, set_exam
from transferlab.diagnostics.probe import Probe


@pytest.fixture
def samples() -> InMemory:
    draws = torch.Generator().manual_seed(0)
    return InMemory(torch.randn(90, 4, generator=draws), torch.randint(0, 3, (90,), generator=draws))


@pytest.fixture
def data(samples: InMemory) -> TransferData:
    parts = Parts(samples, None, samples, ("a", "b", "c"), 90)
    return TransferData(parts, None, frozenset({"target"}), [4], None, None, 4, 0, 0)


def nets() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(1)
    return mlp({"shape": [4]}, [8]), nn.Linear(8, 3)


def test_right_is_what_has_the_highest_output(samples: InMemory, data: TransferData) -> None:
    backbone, head = nets()
    one_by_one = [bool(head(backbone(x[None]))[0].argmax() == y) for x, y in zip(samples.x, samples.y, strict=True)]
    assert correct(backbone, head, Probe(samples.x, samples.y, data)).tolist() == one_by_one
    assert 0 < sum(one_by_one) < 90


def test_an_exam_is_set_once_and_read_again(samples: InMemory, data: TransferData, tmp_path: Path) -> None:
    backbone, head = nets()
    file = tmp_path / "selected.pt"
    first = set_exam(file, lambda: samples, (4,), backbone, head, data)
    again = set_exam(file, lambda: pytest.fail("read twice"), (4,), backbone, head, data)
    assert torch.equal(first.questions.x, again.questions.x)
    assert torch.equal(first.right, again.right)
    before = forgetting(again, backbone, 60)
    assert before["samples"] == 60
    assert before["source_accuracy_before"] == before["source_accuracy_after"]
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.neg_()
    after = forgetting(again, backbone, 60)
    right = correct(backbone, head, Probe(first.questions.x[:60], first.questions.y[:60], data))
    assert after["source_accuracy_after"] == pytest.approx(float(right.float().mean()))
    assert after["source_accuracy_before"] == before["source_accuracy_before"]
    assert forgetting(again, backbone, 0) is None
