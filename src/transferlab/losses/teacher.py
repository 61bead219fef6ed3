"""A net that losses look up to: the source's as the run starts from it, or that of a finished run."""

from collections.abc import Callable, Collection, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from transferlab.backbones.base import Backbone
from transferlab.losses.base import Observation
from transferlab.tasks.base import Task, observe
from transferlab.values import Entered, Value


class Teacher(nn.Module):
    """A backbone with its head that does not train: no gradients, always in evaluation mode.

    Its weights are in the run's checkpoint, so that a resumed run has the same teacher whatever became of its files.

    Args:
        backbone: of its own, not shared with the net that trains.
        head: that it was trained with; None where none is known, as of published features.
        task: that it was trained for; None where none is known.
        weight: beside other teachers.
        about: the backbone, as far as its weights do not say it.
    """

    def __init__(
        self,
        backbone: Backbone,
        head: nn.Module | None,
        task: Task | None,
        weight: float,
        about: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        super().__init__()
        self.backbone, self.head, self.task, self.weight, self.about = backbone, head, task, weight, about
        self.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> "Teacher":
        """Stay in evaluation mode."""
        super().train(False)
        return self

    @torch.no_grad()
    def observe(self, x: Value | Entered, y: Tensor, keep: Collection[str] = ()) -> Observation:
        """Look at a batch; without a head the outputs are None.

        Args:
            x: inputs of B samples, or what is kept of them.
            y: their labels, handed on.
            keep: stages whose outputs are wanted.
        """
        features, activations, outputs = observe(self.backbone, self.head or nn.Identity(), x, keep)
        return Observation(x, y, activations, features, outputs if self.head is not None else None)


class Lessons(Mapping[str, Observation]):
    """What each teacher makes of a batch; a teacher whose lesson nobody reads never looks at it.

    Args:
        teachers: by name.
        target: the batch, as the net in training sees it.
        keep: of a teacher, by its name, the stages whose outputs are wanted.
        known: of some teachers, by name, what they have made of the batch before.
    """

    def __init__(
        self,
        teachers: Mapping[str, Teacher],
        target: Observation,
        keep: Callable[[str], Collection[str]],
        known: Mapping[str, Entered],
    ) -> None:
        self._teachers, self._target, self._keep, self._known = teachers, target, keep, known
        self._given: dict[str, Observation] = {}

    def __getitem__(self, name: str) -> Observation:
        if name not in self._given:
            x = self._known.get(name, self._target.x)
            self._given[name] = self._teachers[name].observe(x, self._target.y, self._keep(name))
        return self._given[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._teachers)

    def __len__(self) -> int:
        return len(self._teachers)
