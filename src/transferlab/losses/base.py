"""What a transfer loss sees, declares and keeps."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from transferlab.backbones.base import Backbone
from transferlab.errors import InputError
from transferlab.losses.weight import Weight
from transferlab.tasks.classification import Task


@dataclass(frozen=True)
class Observation:
    """One domain's batch on its way through the net: B samples.

    Attributes:
        x: inputs (B, ...).
        y: labels (B,).
        activations: outputs of the stages that some loss asked for, by stage.
        features: the backbone's output (B, F).
        outputs: the target head's output (B, C).
    """

    x: Tensor
    y: Tensor
    activations: Mapping[str, Tensor]
    features: Tensor
    outputs: Tensor


@dataclass(frozen=True)
class Setting:
    """What a run starts from, shown to each loss once, before the first step.

    Attributes:
        backbone: with its starting weights.
        head: the target's new head.
        task: of the run.
        classes: number of classes by domain; `source` is there only where its data are read.
        from_source: whether the backbone's weights come from a source.
    """

    backbone: Backbone
    head: nn.Module
    task: Task
    classes: Mapping[str, int]
    from_source: bool


@dataclass(frozen=True)
class Step:
    """One training step as a loss sees it: an observation for each domain that was read."""

    backbone: Backbone
    head: nn.Module
    task: Task
    observed: Mapping[str, Observation]

    def domain(self, name: str, reader: str) -> Observation:
        """The observation of a domain.

        Raises:
            InputError: `reader` reads a domain that was not loaded.
        """
        if name not in self.observed:
            raise InputError(f"loss '{reader}' reads the domain '{name}', which this run does not load")
        return self.observed[name]


class TransferLoss(nn.Module, ABC):
    """A transfer loss: a thin class around a pure function, saying what it reads.

    What it must remember is a buffer and what it trains is a submodule, so both are in the checkpoint and a resumed run
    finds them as they were.

    Args:
        weight: a number, or a function of training progress in [0, 1).
    """

    reads: ClassVar[frozenset[str]] = frozenset({"target"})
    """Domains of the batch."""
    replaces_weight_decay: ClassVar[bool] = False
    """Whether the optimiser's weight decay is switched off beside it."""

    def __init__(self, weight: Weight) -> None:
        super().__init__()
        self.weight = weight
        self.activations: tuple[str, ...] = ()

    def weight_at(self, progress: float) -> float:
        """The weight at a share of training in [0, 1)."""
        return self.weight(progress) if callable(self.weight) else float(self.weight)

    def prepare(self, setting: Setting) -> None:
        """Take anchors and build own parameters, once, before the first step.

        Raises:
            InputError: the setting lacks what the loss is about.
        """

    @abstractmethod
    def forward(self, step: Step) -> Tensor:
        """The loss of one step, a scalar, before its weight."""
