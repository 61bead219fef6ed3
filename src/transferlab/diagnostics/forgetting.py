"""Forgetting: what the transferred backbone still knows of the source's task."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from transferlab import files
from transferlab.backbones.base import Backbone
from transferlab.data.module import TransferData
from transferlab.data.samples import Samples
from transferlab.diagnostics.probe import Probe, undisturbed
from transferlab.seeding import derive
from transferlab.tasks.base import Task, observe
from transferlab.values import Seq, Value

MOST = 500  # samples: an accuracy of 0.9 is then known to a standard error of 0.013
_FILE = "exam.pt"
_BATCH = 64


def correct(backbone: Backbone, head: nn.Module, task: Task, questions: Probe) -> Tensor:
    """Whether backbone and head, both in evaluation mode, class each sample right: (N,), on the CPU."""
    probabilities, y = answered(backbone, head, task, questions)
    return probabilities.argmax(1) == y


def answered(backbone: Backbone, head: nn.Module, task: Task, questions: Probe) -> tuple[Tensor, Tensor]:
    """Probabilities (N, C) by backbone and head, both in evaluation mode, and labels (N,), on the CPU."""
    with torch.no_grad():
        answers = [(observe(backbone, head, x)[2], y) for x, y in questions.batches(_BATCH, backbone)]
        said = [(task.probabilities(outputs), y) for outputs, y in answers]
        p, y = zip(*((p.cpu(), y.cpu()) for p, y in said if p is not None), strict=True)
        return torch.cat(p), torch.cat(y)


@dataclass(frozen=True)
class Exam:
    """Test samples of the source, in an order of chance, so that the first few are a fair choice.

    Attributes:
        questions: the samples (N, ...), `MOST` at most.
        head: the source's own.
        task: the source's, one class out of several.
        right: whether the source network classes each right, (N,).
    """

    questions: Probe
    head: nn.Module
    task: Task
    right: Tensor


def set_exam(
    weights: Path,
    read: Callable[[], Samples],
    task: Task,
    backbone: Backbone,
    head: nn.Module,
    data: TransferData,
) -> Exam:
    """The exam of a source, set once and kept beside its weights: reading a set takes longer than many a run.

    Args:
        weights: of the source network.
        read: gives the source's test split.
        task: the source's.
        backbone: holds the source's weights.
        head: the source's own.
        data: normalises.
    """
    file = weights.with_name(_FILE)
    if file.exists():
        kept = torch.load(file, "cpu", weights_only=True)
        return Exam(Probe(_whole(kept["x"]), kept["y"], data), head, task, kept["right"])
    samples = read()
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(derive(0, "exam")))[:MOST]
    chosen = samples.take(order).prepared(data.input)
    questions = Probe(*chosen[range(len(chosen))], data)
    with undisturbed(backbone), undisturbed(head):
        right = correct(backbone, head, task, questions)
    buffer = io.BytesIO()
    torch.save({"x": _parts(questions.x), "y": questions.y, "right": right}, buffer)
    files.write_bytes(file, buffer.getbuffer())
    return Exam(questions, head, task, right)


def forgetting(exam: Exam, backbone: Backbone, samples: int) -> dict[str, Any] | None:
    """The source accuracy of a backbone under the source's own head, before transfer and after.

    The loss that Kirkpatrick et al. 2017, "Overcoming catastrophic forgetting in neural networks" (PNAS), measure: the
    old task's accuracy after learning the new one. The head stays the source's, so a change may be forgetting, or
    features that moved away from under it; a new head on them would tell these apart.

    Args:
        exam: of the source.
        backbone: after transfer.
        samples: to look at, at most.

    Returns:
        `source_accuracy_before`, `source_accuracy_after` and `samples`; None where no sample may be looked at.
    """
    questions = exam.questions.first(samples)
    if not len(questions):
        return None
    head = exam.head.to(next(backbone.parameters(), torch.empty(0)).device)
    with undisturbed(backbone), undisturbed(head):
        after = correct(backbone, head, exam.task, questions)
    return {
        "source_accuracy_before": float(exam.right[:samples].double().mean()),
        "source_accuracy_after": float(after.double().mean()),
        "samples": len(questions),
    }


def _parts(x: Value) -> Any:
    """A value as a file of tensors alone holds it."""
    if isinstance(x, Seq):
        return [x.h, x.mask]
    return x


def _whole(kept: Any) -> Value:
    return Seq(*kept) if isinstance(kept, list) else kept
