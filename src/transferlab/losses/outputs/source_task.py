"""Joint training: solve the source's task beside the target's."""

from typing import Literal

from torch import Tensor, nn

from transferlab.errors import InputError
from transferlab.losses.base import Setting, Step, TransferLoss
from transferlab.losses.weight import Weight


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

    reads = frozenset({"target", "source"})

    def __init__(self, weight: Weight, head: Literal["shared", "own"]) -> None:
        super().__init__(weight)
        if head not in ("shared", "own"):
            raise InputError(f"strategy.losses.source_task.head={head}: 'shared' or 'own'")
        self.shared = head == "shared"
        self.head: nn.Module | None = None

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
            self.head = setting.task.build_head(setting.backbone.features, classes)
        elif classes != setting.classes["target"]:
            raise InputError(
                f"a shared head needs one set of classes: the source has {classes}, the target "
                f"{setting.classes['target']}; set strategy.losses.source_task.head=own"
            )

    def forward(self, step: Step) -> Tensor:
        """The task loss of the source's batch."""
        source = step.domain("source", "source_task")
        if self.head is None and not self.shared:
            raise RuntimeError("loss 'source_task' with a head of its own was not prepared")
        outputs = source.outputs if self.head is None else self.head(source.features)
        return step.task.loss(outputs, source.y)
