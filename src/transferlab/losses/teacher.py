"""A net that losses look up to: the source's as the run starts from it, or that of a finished run."""

from collections.abc import Collection

import torch
from torch import Tensor, nn

from transferlab.backbones.base import Backbone
from transferlab.losses.base import Observation
from transferlab.tasks.base import Task, observe
from transferlab.values import Value


class Teacher(nn.Module):
    """A backbone with its head that does not train: no gradients, always in evaluation mode.

    Its weights are in the run's checkpoint, so that a resumed run has the same teacher whatever became of its files.

    Args:
        backbone: of its own, not shared with the net that trains.
        head: that it was trained with; None where none is known, as of published features.
        task: that it was trained for; None where none is known.
        weight: beside other teachers.
    """

    def __init__(self, backbone: Backbone, head: nn.Module | None, task: Task | None, weight: float) -> None:
        super().__init__()
        self.backbone, self.head, self.task, self.weight = backbone, head, task, weight
        self.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> "Teacher":
        """Stay in evaluation mode."""
        super().train(False)
        return self

    @torch.no_grad()
    def observe(self, x: Value, y: Tensor, keep: Collection[str] = ()) -> Observation:
        """Look at a batch; without a head the outputs are None.

        Args:
            x: inputs of B samples.
            y: their labels, handed on.
            keep: stages whose outputs are wanted.
        """
        features, activations, outputs = observe(self.backbone, self.head or nn.Identity(), x, keep)
        return Observation(x, y, activations, features, outputs if self.head is not None else None)
