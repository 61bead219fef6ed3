"""What a transfer loss sees, declares and keeps."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from transferlab.backbones.base import Backbone
from transferlab.errors import InputError
from transferlab.losses.weight import Weight
from transferlab.partials import settled
from transferlab.tasks.base import Task
from transferlab.values import Entered, Value

if TYPE_CHECKING:
    from transferlab.losses.teacher import Teacher


@dataclass(frozen=True)
class Observation:
    """One domain's batch on its way through the net: B samples.

    Attributes:
        x: inputs, or what the first stages have made of them.
        y: labels (B, ...); of the domain `unlabeled` (B, 0).
        activations: outputs of stages by name, those that some loss asked for among them.
        features: the backbone's output, (B, F); maps or sequences for a dense task.
        outputs: the target head's output, (B, C) logits in classification.
    """

    x: Value | Entered
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
        teachers: by name, where some loss has any.
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
    teachers: Mapping[str, "Teacher"] = field(default_factory=dict)

    def teachers_for(self, reader: str) -> Mapping[str, "Teacher"]:
        """The teachers.

        Raises:
            InputError: there is none, because this run starts from no source.
        """
        if not self.teachers:
            raise InputError(
                f"loss '{reader}' learns from the source's net, and this run starts from none: choose a source, or a "
                "finished run by +strategy/teacher@strategy.teachers.first=run strategy.teachers.first.folder=..."
            )
        return self.teachers


@dataclass(frozen=True)
class Study:
    """What a loss may look at when the net lies on its device, before the first step of a run or of an epoch.

    Attributes:
        backbone: with the weights that it has then, in evaluation mode.
        head: the target's, likewise.
        task: of the run.
        teachers: by name.
        batches: the training samples of a domain in order, without augmentation, at most so many to a batch.
    """

    backbone: Backbone
    head: nn.Module
    task: Task
    teachers: Mapping[str, "Teacher"]
    batches: Callable[[str, int], Iterable[tuple[Value, Tensor]]]


@dataclass(frozen=True)
class Step:
    """One training step as a loss sees it.

    Attributes:
        backbone: in training.
        head: the target's.
        task: of the run.
        observed: what became of each domain's batch.
        taught: what each teacher makes of the target's batch, computed where a loss reads it.
        weights: of the teachers.
        progress: the share of training, in [0, 1), that is done before this step.
    """

    backbone: Backbone
    head: nn.Module
    task: Task
    observed: Mapping[str, Observation]
    taught: Mapping[str, Observation] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    progress: float = 0.0

    def by_teachers(self, formula: Callable[[str], Tensor]) -> Tensor:
        """The mean over teachers, each by its weight, of a formula of the teacher's name."""
        total = sum(self.weights.values())
        return torch.stack([weight / total * formula(name) for name, weight in self.weights.items()]).sum()

    def domain(self, name: str, reader: str) -> Observation:
        """The observation of a domain.

        Raises:
            InputError: `reader` reads a domain that was not loaded.
        """
        if name not in self.observed and name == "target":
            raise InputError(
                f"loss '{reader}' reads labelled samples of the target, and this run trains on none: set "
                "target.labels, or leave it out"
            )
        if name not in self.observed:
            raise InputError(f"loss '{reader}' reads the domain '{name}', which this run does not load")
        return self.observed[name]


class TransferLoss(nn.Module, ABC):
    """A transfer loss: a thin class around a pure function, saying what it reads.

    `activations` are the stages whose outputs it reads, `taught` those of each teacher; `prepare` sets both. What it
    must remember is a buffer and what it trains is a submodule, so both are in the checkpoint and a resumed run
    finds them as they were.

    Args:
        weight: a number, or a function of training progress in [0, 1).
    """

    reads: ClassVar[frozenset[str]] = frozenset({"target"})
    """Domains of the batch."""
    studies: ClassVar[frozenset[str]] = frozenset()
    """Domains whose training samples it goes through once, before the first step."""
    restudies: ClassVar[frozenset[str]] = frozenset()
    """Domains whose training samples it goes through anew at the start of each epoch."""
    asks: ClassVar[Literal["never", "once", "each step"]] = "never"
    """Whether it looks up to a teacher: before the first step alone, or at each batch."""
    replaces_weight_decay: ClassVar[bool] = False
    """Whether the optimiser's weight decay is switched off beside it."""
    shares_classes: bool = False
    """Whether the source's labels are those of the target's head."""

    def __init__(self, weight: Weight) -> None:
        super().__init__()
        self.weight = settled(weight) if callable(weight) else weight
        self.activations: tuple[str, ...] = ()
        self.taught: Mapping[str, tuple[str, ...]] = {}
        self.studied: Tensor
        if self.studies:
            self.register_buffer("studied", torch.tensor(False))

    def weight_at(self, progress: float) -> float:
        """The weight at a share of training in [0, 1)."""
        return self.weight(progress) if callable(self.weight) else float(self.weight)

    def prepare(self, setting: Setting) -> None:
        """Take anchors and build own parameters, once, before the first step.

        Raises:
            InputError: the setting lacks what the loss is about.
        """

    def study(self, study: Study) -> None:
        """Fill buffers that `prepare` made from whole training splits.

        Of domains that it `studies` once, and a resumed run finds them filled; of those that it `restudies` from
        scratch at the start of each epoch.

        Raises:
            InputError: the samples lack what the loss is about.
        """

    @abstractmethod
    def forward(self, step: Step) -> Tensor:
        """The loss of one step, a scalar, before its weight."""
