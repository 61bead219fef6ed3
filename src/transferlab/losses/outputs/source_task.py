"""Joint training: solve the source's task beside the target's."""

from typing import Literal

from torch import Tensor, nn

from transferlab.errors import InputError
from transferlab.losses.base import Setting, Step, TransferLoss
from transferlab.losses.weight import Weight
from transferlab.tasks.base import Task


class SourceTask(TransferLoss):
    """The task loss on labelled source data, through the target's head or one of its own.

    With a shared head the two domains have one classifier (full transfer); with a head each they share the backbone
    alone (partial transfer, the hard parameter sharing of Caruana 1997).

    Args:
        weight: of the source beside the target's 1; may follow a schedule.
        head: `shared` or `own`.

    Raises:
        InputError: another word for `head`.
    """

    reads = frozenset({"source"})

    def __init__(self, weight: Weight, head: Literal["shared", "own"]) -> None:
        super().__init__(weight)
        if head not in ("shared", "own"):
            raise InputError(f"strategy.losses.source_task.head={head}: 'shared' or 'own'")
        self.shared = self.shares_classes = head == "shared"
        self.head: nn.Module | None = None
        self.task: Task | None = None

    def prepare(self, setting: Setting) -> None:
        """Build the own head.

        Raises:
            InputError: the source has no data, or other classes than the target under a shared head.
        """
        if "source" not in setting.classes:
            raise InputError(
                "loss 'source_task' reads source data, but this source has none; choose e.g. source=mnist5k"
            )
        classes = setting.classes["source"]
        if not self.shared:
            self.task = setting.source_task or setting.task
            self.head = self.task.build_head(setting.backbone, classes, setting.example)
            self.activations = tuple(getattr(self.head, "reads", ()))
        elif classes != setting.classes["target"] and not setting.task.reconstructs:
            raise InputError(
                f"a shared head needs one set of classes: the source has {classes}, the target "
                f"{setting.classes['target']}; set strategy.losses.source_task.head=own"
            )

    def forward(self, step: Step) -> Tensor:
        """The task loss of the source's batch."""
        source = step.domain("source", "source_task")
        if self.shared:
            return step.task.loss(source.outputs, source.y)
        if self.head is None or self.task is None:
            raise RuntimeError("loss 'source_task' with a head of its own was not prepared")
        read = [source.activations[stage] for stage in self.activations]
        return self.task.loss(self.head(read or source.features), source.y)
