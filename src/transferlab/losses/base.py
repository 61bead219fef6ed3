"""What a transfer loss sees, declares and keeps."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from transferlab.backbones.base import Backbone
from transferlab.errors import InputError
from transferlab.losses.weight import Weight
from transferlab.tasks.base import Task
from transferlab.values import Value


@dataclass(frozen=True)
class Observation:
    """One domain's batch on its way through the net: B samples.

    Attributes:
        x: inputs.
        y: labels (B, ...).
        activations: outputs of stages by name, those that some loss asked for among them.
        features: the backbone's output, (B, F); maps or sequences for a dense task.
        outputs: the target head's output, (B, C) logits in classification.
    """

    x: Value
    y: Tensor
    activations: Mapping[str, Any]
    features: Any
    outputs: Any


@dataclass(frozen=True)
class Setting:
    """What a run starts from, shown to each loss once, before the first step.

    Attributes:
        backbone: with its starting weights.
        head: the target's.
        task: of the run.
        classes: number of classes or other outputs by domain; `source` is there only where its data are read.
        example: a small input, as the backbone takes it.
        from_source: whether the backbone's weights come from a source.
        source_task: the same task after it has seen the source's labels; None where their data are not read.
        names: of the target's classes or other outputs, where they have any.
        head_from_source: whether the head's weights come from the source too.
    """

    backbone: Backbone
    head: nn.Module
    task: Task
    classes: Mapping[str, int]
    example: Value
    from_source: bool
    source_task: Task | None = None
    names: tuple[str, ...] = ()
    head_from_source: bool = False


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
