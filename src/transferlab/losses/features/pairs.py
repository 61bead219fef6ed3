"""Stages of the net in training, each beside the one of every teacher that answers to it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from transferlab.backbones.base import Backbone
from transferlab.backbones.looking import outputs
from transferlab.errors import InputError
from transferlab.losses.base import Setting, Step
from transferlab.losses.stages import of_teacher
from transferlab.values import Seq

Formula: TypeAlias = Callable[[str, int, Any, Any], Tensor]
"""Of a teacher's name, the number of a pair of stages, and the two outputs."""


@dataclass(frozen=True)
class Pairs:
    """Which stages are compared.

    Attributes:
        stages: of the net in training.
        taught: those of each teacher, as many.
        nets: the teachers' backbones.
    """

    stages: tuple[str, ...]
    taught: Mapping[str, tuple[str, ...]]
    nets: Mapping[str, Backbone]

    @classmethod
    def of(
        cls, setting: Setting, reader: str, stages: tuple[str, ...], teacher_stages: Sequence[str | int] | None
    ) -> "Pairs":
        """Those of each teacher: of the same names, or as the config names them.

        Args:
            setting: of the run.
            reader: the loss, for messages.
            stages: of the net in training.
            teacher_stages: as for `of_teacher`.

        Raises:
            InputError: there is no teacher, or one without such stages.
        """
        teachers = setting.teachers_for(reader)
        key = f"strategy.losses.{reader}.teacher_stages"
        taught = {name: of_teacher(teacher_stages, stages, name, teacher, key) for name, teacher in teachers.items()}
        return cls(stages, taught, {name: teacher.backbone for name, teacher in teachers.items()})

    def examples(self, setting: Setting) -> Mapping[str, list[tuple[Any, Any]]]:
        """What both nets make of a small input, by teacher, a pair of outputs for each pair of stages."""
        mine = outputs(setting.backbone, setting.example, self.stages)
        found = {}
        for name, theirs in self.taught.items():
            its = outputs(self.nets[name], setting.example, theirs)
            found[name] = [(mine[own], its[other]) for own, other in zip(self.stages, theirs, strict=True)]
        return found

    def summed(self, step: Step, reader: str, formula: Formula) -> Tensor:
        """A formula's sum over pairs of stages, and its mean over teachers."""
        target = step.domain("target", reader)

        def of_teacher(name: str) -> Tensor:
            seen = step.taught[name]
            pairs = enumerate(zip(self.stages, self.taught[name], strict=True))
            return torch.stack(
                [formula(name, n, target.activations[own], seen.activations[other]) for n, (own, other) in pairs]
            ).sum()

        return step.by_teachers(of_teacher)


def plain(backbone: Backbone, value: Any) -> Tensor | Seq:
    """A stage's output as maps (B, C, H, W), a sequence or vectors (B, C).

    Raises:
        InputError: it is none of these.
    """
    vectors = isinstance(value, Tensor) and value.ndim == 2
    found: Tensor | Seq = value if vectors or isinstance(value, Seq) else backbone.maps(value)
    return found


def aligned(own: Tensor | Seq, other: Tensor | Seq, reader: str) -> tuple[Tensor, Tensor, Tensor]:
    """Two outputs at the same positions; of two maps the larger is averaged over the cells of the smaller one's grid.

    Args:
        own: maps (B, C, H, W), a sequence (B, P, C) or vectors (B, C).
        other: likewise.
        reader: the loss, for messages.

    Returns:
        Vectors (B, P, C), those of the other (B, P, C'), and which positions are real (B, P).

    Raises:
        InputError: sequences of other lengths, or outputs of two kinds.
    """
    if isinstance(own, Tensor) and isinstance(other, Tensor) and own.ndim == other.ndim == 4:
        size = (min(own.shape[2], other.shape[2]), min(own.shape[3], other.shape[3]))
        own, other = F.adaptive_avg_pool2d(own, size), F.adaptive_avg_pool2d(other, size)
    (mine, mask), (its, _) = _flat(own), _flat(other)
    if mine.shape[1] != its.shape[1]:
        raise InputError(
            f"loss '{reader}': a sample has {mine.shape[1]} positions in a stage of this net and {its.shape[1]} in the "
            f"teacher's: choose others by strategy.losses.{reader}.stages and teacher_stages"
        )
    return mine, its, mask


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean over samples of each one's mean over its real positions, of (B, P); of none, 0."""
    return ((values * mask).sum(1) / mask.sum(1).clamp_min(1)).mean()


def _flat(value: Tensor | Seq) -> tuple[Tensor, Tensor]:
    if isinstance(value, Seq):
        return value.h, value.mask
    vectors = value[:, None] if value.ndim == 2 else value.flatten(2).mT
    return vectors, torch.ones(vectors.shape[:2], dtype=torch.bool, device=vectors.device)
