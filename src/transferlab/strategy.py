"""A strategy: its parts, composed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from transferlab.adapters.base import Adapter
from transferlab.averaging import Averaging
from transferlab.data.augmentation.base import Augmentation
from transferlab.errors import InputError, unknown
from transferlab.freezing import Freezing, first_epochs
from transferlab.interpolation import Interpolation
from transferlab.listening import Listener
from transferlab.losses.base import TransferLoss
from transferlab.partials import settled
from transferlab.shallow.solver import Shallow
from transferlab.solver import LBFGS
from transferlab.teachers import Named


@dataclass(frozen=True)
class Strategy:
    """How knowledge is transferred: what trains when, and what pulls on it.

    Attributes:
        freezing: which stages train in an epoch.
        losses: transfer losses by name.
        start: `source` takes the source's weights, `random` none of them.
        head: `new`, drawn at random, or the `source`'s own, which fits where it was pretrained here on as many outputs.
        lr_decay: learning-rate factor a stage, from the head down.
        frozen_batchnorm: whether BatchNorm of frozen stages stays `still` or `trains`.
        adapter: which says what of a stage trains; None: all of it.
        teachers: that losses look up to, by name; none: the source's net as the run starts from it.
        averaging: what is validated, selected and tested in place of the last weights; None: these.
        interpolation: between the weights before the backbone trained and the selected ones; None: these.
        solver: that solves for the head, or for a classifier in its place, instead of training; None: it trains.
        target_labels: whether labels of the target that are seen are trained on, `used`, or select alone, `unused`.
        views: what the inputs of the domain `strong` are changed by; None: there is no such domain.
    """

    freezing: Freezing
    losses: Mapping[str, TransferLoss]
    start: Literal["source", "random"]
    head: Literal["new", "source"]
    lr_decay: float
    frozen_batchnorm: Literal["still", "trains"]
    adapter: Adapter | None
    teachers: Mapping[str, Named]
    averaging: Averaging | None
    interpolation: Interpolation | None
    solver: LBFGS | Shallow | None
    target_labels: Literal["used", "unused"]
    views: Augmentation | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "freezing", settled(self.freezing))
        allowed = {"start": ("source", "random"), "head": ("new", "source"), "frozen_batchnorm": ("still", "trains")}
        allowed["target_labels"] = ("used", "unused")
        for key, words in allowed.items():
            if getattr(self, key) not in words:
                raise InputError(f"strategy.{key}={getattr(self, key)}: '{words[0]}' or '{words[1]}'")
        if self.interpolation is not None and self.adapter is not None and not self.adapter.linear:
            raise InputError(
                "strategy.interpolation goes along a line between the weights of two whole nets, which between two "
                "states of this adapter is none: set strategy.interpolation=null, or strategy.adapter=null"
            )

    @property
    def reads(self) -> frozenset[str]:
        """The domains that a batch must hold."""
        solved = frozenset() if self.solver is None else self.solver.reads
        return frozenset({"target"}).union(solved, *(loss.reads | loss.restudies for loss in self.losses.values()))

    @property
    def shares_classes(self) -> bool:
        """Whether a loss or a solver has source and target share one head, so that they need the same classes."""
        return any(part.shares_classes for part in (*self.losses.values(), self.solver) if part is not None)

    @property
    def studies(self) -> frozenset[str]:
        """The domains whose training samples are gone through beside training, by a loss or for an average."""
        averaging = self.averaging.studies if self.averaging is not None else frozenset[str]()
        return averaging.union(*(loss.studies for loss in self.losses.values()))

    @property
    def learns(self) -> bool:
        """Whether some loss looks up to a teacher."""
        return any(loss.asks != "never" for loss in self.losses.values())

    @property
    def asks(self) -> bool:
        """Whether some loss asks its teachers at each batch."""
        return any(loss.asks == "each step" for loss in self.losses.values())

    def taught(self, teacher: str) -> frozenset[str]:
        """The stages of a teacher whose outputs some loss reads."""
        return frozenset().union(*(loss.taught.get(teacher, ()) for loss in self.losses.values()))

    @property
    def activations(self) -> frozenset[str]:
        """The stages whose outputs some loss reads."""
        return frozenset().union(*(loss.activations for loss in self.losses.values()))

    @property
    def replaces_weight_decay(self) -> bool:
        """Whether a loss stands in for the optimiser's weight decay."""
        return any(loss.replaces_weight_decay for loss in self.losses.values())

    @property
    def beyond_head(self) -> str | None:
        """What it has beyond the task's loss of a head on features, whatever trains when; None: nothing."""
        parts = {
            "transfer losses": self.losses,
            "an adapter": self.adapter,
            "averaged weights": self.averaging,
            "interpolated weights": self.interpolation,
        }
        if has := next((name for name, part in parts.items() if part), None):
            return f"the strategy has {has}"
        return "BatchNorm of frozen stages trains" if self.frozen_batchnorm == "trains" else None

    def trainable(self, stages: Sequence[str], epoch: int) -> set[str]:
        """The stages that train in an epoch.

        Raises:
            InputError: the schedule names a stage that does not exist, or none at all.
        """
        chosen = self.freezing(stages, epoch)
        if missing := chosen - set(stages):
            raise unknown("stage", min(missing), stages)
        if not chosen:
            raise InputError(f"the freezing schedule trains no stage in epoch {epoch}")
        return chosen

    def first_epochs(self, stages: Sequence[str], epochs: int) -> dict[str, int]:
        """The epoch in which each stage first trains; of a schedule that listens those known so far, kept up to date.

        Raises:
            InputError: in some epoch nothing trains.
        """
        if isinstance(self.freezing, Listener):
            self.trainable(stages, 0)
            return self.freezing.first
        return first_epochs(self.trainable, stages, epochs)
