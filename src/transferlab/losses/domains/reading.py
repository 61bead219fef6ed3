"""What a loss of domain adaptation reads: one vector a sample of each side."""

from collections.abc import Sequence

import torch
from torch import Tensor

from transferlab.backbones.base import Backbone
from transferlab.errors import InputError
from transferlab.losses.base import Observation, Setting, Step, TransferLoss
from transferlab.losses.features.reading import readable
from transferlab.losses.stages import positions
from transferlab.losses.weight import Weight


class DomainLoss(TransferLoss):
    """A loss between the labelled source and the target without labels.

    Args:
        name: of the loss, for messages.
        weight: a number, or a function of training progress.
        stages: whose outputs are compared: names, patterns or positions; None: the features alone.
    """

    reads = frozenset({"source", "unlabeled"})
    shares_classes = True

    def __init__(self, name: str, weight: Weight, stages: Sequence[str | int] | None = None) -> None:
        super().__init__(weight)
        self.name, self.stages = name, stages

    def prepare(self, setting: Setting) -> None:
        """Find the stages.

        Raises:
            InputError: the source has no data, or there is no such stage.
        """
        if "source" not in setting.classes:
            raise InputError(
                f"loss '{self.name}' reads source data, but this source has none; choose e.g. source=mnist5k"
            )
        if self.stages is not None:
            key = f"strategy.losses.{self.name}.stages"
            self.activations = readable(self.stages, setting.backbone, setting.example, key)

    def sides(self, step: Step) -> tuple[Observation, Observation]:
        """What became of the source's batch, and of the target's without labels."""
        return step.domain("source", self.name), step.domain("unlabeled", self.name)

    def compared(self, step: Step) -> list[tuple[Tensor, Tensor]]:
        """Of each stage, or of the features, vectors of the source (n, F) and of the target (m, F)."""
        source, target = self.sides(step)
        return list(zip(self._vectors(step.backbone, source), self._vectors(step.backbone, target), strict=True))

    def _vectors(self, backbone: Backbone, observed: Observation) -> list[Tensor]:
        values = [observed.activations[stage] for stage in self.activations] or [observed.features]
        return [mean_vectors(backbone, value) for value in values]


def mean_vectors(backbone: Backbone, value: object) -> Tensor:
    """A stage's output as one vector a sample (B, F): of maps and sequences the mean over real positions."""
    if isinstance(value, Tensor) and value.ndim == 2:
        return value
    vectors, real = positions(backbone, value)
    share = real.to(vectors.dtype) / real.sum(1, keepdim=True).clamp(min=1)
    return torch.einsum("bpf,bp->bf", vectors, share)
