"""What losses on the net's predictions for the target have in common."""

from typing import ClassVar

from torch import Tensor

from transferlab.losses.base import Setting, Step, TransferLoss
from transferlab.losses.domains.classifiers import classes
from transferlab.losses.weight import Weight
from transferlab.tasks.places import Placed


class PredictionLoss(TransferLoss):
    """A loss on what the net predicts for the target without labels; it reads no source.

    Args:
        name: of the loss, for messages.
        weight: a number, or a function of training progress.
    """

    reads = frozenset({"unlabeled"})
    by_place: ClassVar[bool] = False
    """Whether each pixel or word counts as a sample, where a task tells the classes of these."""

    def __init__(self, name: str, weight: Weight) -> None:
        super().__init__(weight)
        self.name = name

    def prepare(self, setting: Setting) -> None:
        """See that there are predictions.

        Raises:
            InputError: neither a sample nor, where the loss takes these, a place in it has one class out of several.
        """
        if not (self.by_place and isinstance(setting.task, Placed)):
            classes(setting, self.name)

    def logits(self, step: Step) -> Tensor:
        """Of the target's batch without labels (B, C), or of all places in it (n, C)."""
        seen = step.domain("unlabeled", self.name)
        if isinstance(step.task, Placed):
            logits, there = step.task.placed(seen.features, seen.outputs)
            return logits[there]
        outputs: Tensor = seen.outputs
        return outputs
