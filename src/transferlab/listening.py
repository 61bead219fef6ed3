"""Freezing schedules that listen: what trains next depends on what training measured.

Unlike those of `freezing` they remember: which stages trained in each epoch so far. That travels in the checkpoint, so
a resumed run freezes what the uninterrupted one does.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from transferlab.directions import sign
from transferlab.errors import InputError, unknown


@runtime_checkable
class Listener(Protocol):
    """A schedule that decides at the end of an epoch what trains from the next one on."""

    hears_gradients: ClassVar[bool]
    """Whether it wants the norms of gradients."""
    first: dict[str, int]
    """The epoch in which each stage first trained, as far as that is known."""

    def __call__(self, stages: Sequence[str], epoch: int) -> set[str]:
        """The stages that train in an epoch, by what was decided so far."""
        ...

    def listen(self, stages: Sequence[str], row: Mapping[str, Any], gradients: Mapping[str, float]) -> None:
        """Decide about the next epoch.

        Args:
            stages: all, the head last.
            row: what the epoch just ended measured, `val/loss` and the like.
            gradients: of each stage that trained, the norm of its gradient summed over the epoch's steps.

        Raises:
            InputError: the row lacks what the schedule listens to.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything decided so far."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        ...


class Decisions:
    """What trained in each epoch so far and what trains next."""

    def __init__(self) -> None:
        self.sets: list[list[str]] = []
        self.first: dict[str, int] = {}

    def at(self, epoch: int, otherwise: Iterable[str]) -> set[str]:
        """The stages of an epoch; of one to come those of the last decision, before any `otherwise`."""
        if not self.sets:
            self.add(otherwise)
        return set(self.sets[min(epoch, len(self.sets) - 1)])

    def add(self, chosen: Iterable[str]) -> None:
        """What trains in the epoch after the last decided one."""
        self.sets.append(sorted(chosen))
        for stage in self.sets[-1]:
            self.first.setdefault(stage, len(self.sets) - 1)

    def load(self, sets: Iterable[Iterable[str]]) -> None:
        """Decide all anew; `first` stays the same object, as learning rates look at it."""
        self.sets.clear()
        self.first.clear()
        for chosen in sets:
            self.add(chosen)


class PlateauUnfreezing:
    """The head alone; one stage more, from the last down, whenever a metric has stopped getting better.

    Gradual unfreezing (Howard & Ruder 2018, section 3.3) at the pace of a plateau scheduler in place of one stage an
    epoch: the metric must have gained `min_delta` on its best within `patience` epochs.

    Args:
        metric: of the history, e.g. `val/loss`.
        patience: epochs without a gain before a stage is added, at least 1.
        min_delta: what counts as a gain, in the metric's unit, 0 or more.

    Raises:
        InputError: a number out of its range.
    """

    hears_gradients: ClassVar[bool] = False

    def __init__(self, metric: str, patience: int, min_delta: float) -> None:
        if patience < 1:
            raise InputError(f"strategy.freezing.patience={patience}: a number of epochs, at least 1")
        if min_delta < 0:
            raise InputError(f"strategy.freezing.min_delta={min_delta}: 0 or more")
        self.metric, self.patience, self.min_delta = metric, patience, min_delta
        self.best, self.waited = -float("inf"), 0
        self._decisions = Decisions()
        self.first = self._decisions.first

    def __call__(self, stages: Sequence[str], epoch: int) -> set[str]:
        """The head and the stages added so far."""
        return self._decisions.at(epoch, stages[-1:])

    def listen(self, stages: Sequence[str], row: Mapping[str, Any], gradients: Mapping[str, float]) -> None:
        """Add a stage, or none.

        Raises:
            InputError: the metric is not measured.
        """
        if self.metric not in row:
            measured = [name for name in row if name.startswith(("val/", "train/"))]
            raise unknown("metric to listen to (strategy.freezing.metric)", self.metric, measured)
        score = sign(self.metric) * float(row[self.metric])
        gained = score > self.best + self.min_delta
        self.best, self.waited = (score, 0) if gained else (self.best, self.waited + 1)
        depth = len(self._decisions.sets[-1])
        if self.waited >= self.patience:
            depth, self.waited = min(depth + 1, len(stages)), 0
        self._decisions.add(stages[-depth:])

    def state_dict(self) -> dict[str, Any]:
        """The best score, how long ago it was, and what trained."""
        return {"best": self.best, "waited": self.waited, "sets": self._decisions.sets}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on waiting."""
        self.best, self.waited = state["best"], state["waited"]
        self._decisions.load(state["sets"])


class AutoFreeze:
    """Everything; then the stages nearest to the input are frozen for good once their gradients settle.

    Liu, Agarwal & Venkataraman 2021, "AutoFreeze: Automatically Freezing Model Blocks to Accelerate Fine-tuning", the
    gradient norm test: with D the norm of a stage's gradient summed over an interval, `|D_before - D_now| / D_before`
    is how fast the stage still changes. Of the stages that train, those below the percentile of all of them are frozen
    as long as all stages under them are frozen too. An interval is an epoch here; the paper tests several times in one.
    The head is never frozen.

    Args:
        percentile: of the stages' changes, in [0, 100]; the paper's choice is 50.

    Raises:
        InputError: a number out of its range.
    """

    hears_gradients: ClassVar[bool] = True

    def __init__(self, percentile: float) -> None:
        if not 0 <= percentile <= 100:
            raise InputError(f"strategy.freezing.percentile={percentile}: between 0 and 100")
        self.percentile = percentile
        self.norms: dict[str, float] = {}
        self._decisions = Decisions()
        self.first = self._decisions.first

    def __call__(self, stages: Sequence[str], epoch: int) -> set[str]:
        """All stages that are not frozen yet."""
        return self._decisions.at(epoch, stages)

    def listen(self, stages: Sequence[str], row: Mapping[str, Any], gradients: Mapping[str, float]) -> None:
        """Freeze some more, or none; nothing before there are two epochs to compare."""
        active = [stage for stage in stages[:-1] if stage in self._decisions.sets[-1]]
        changes = {
            stage: abs(self.norms[stage] - gradients[stage]) / self.norms[stage]
            for stage in active
            if self.norms.get(stage) and stage in gradients
        }
        frozen = 0
        if active and len(changes) == len(active):
            threshold = np.percentile(list(changes.values()), self.percentile)
            settled = [changes[stage] < threshold for stage in active]
            frozen = settled.index(False) if False in settled else len(settled)
        self.norms = dict(gradients)
        self._decisions.add([*active[frozen:], stages[-1]])

    def state_dict(self) -> dict[str, Any]:
        """The norms of the last epoch, and what trained."""
        return {"norms": self.norms, "sets": self._decisions.sets}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on comparing."""
        self.norms = dict(state["norms"])
        self._decisions.load(state["sets"])
