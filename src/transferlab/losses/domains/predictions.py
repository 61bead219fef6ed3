"""What losses on the net's predictions for the target have in common."""

from torch import Tensor

from transferlab.losses.base import Setting, Step, TransferLoss
from transferlab.losses.domains.classifiers import classes
from transferlab.losses.weight import Weight


class PredictionLoss(TransferLoss):
    """A loss on what the net predicts for the target without labels; it reads no source.

    Args:
        name: of the loss, for messages.
        weight: a number, or a function of training progress.
    """

    reads = frozenset({"unlabeled"})

    def __init__(self, name: str, weight: Weight) -> None:
        super().__init__(weight)
        self.name = name

    def prepare(self, setting: Setting) -> None:
        """See that there are predictions.

        Raises:
            InputError: a sample has not one class out of several.
        """
        classes(setting, self.name)

    def logits(self, step: Step) -> Tensor:
        """Of the target's batch without labels (B, C)."""
        outputs: Tensor = step.domain("unlabeled", self.name).outputs
        return outputs
