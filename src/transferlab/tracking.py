"""What Weights & Biases receives. A tracker never stops a run: whatever it cannot do costs a warning."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pytorch_lightning.loggers import Logger, WandbLogger

from transferlab import connection
from transferlab.withheld import hidden

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunCard:
    """What a tracker is told of a run before it starts."""

    run_id: str
    study: str
    strategy: str
    name: str
    tags: tuple[str, ...]
    config: Mapping[str, Any]
    folder: Path
    goes_on: bool = False  # from a checkpoint


class Tracker(Protocol):
    """Follows one run from start to finish."""

    def start(self, card: RunCard) -> Logger | None:
        """Begin; the logger for the Trainer, if there is one."""
        ...

    def finish(self, summary: Mapping[str, Any], status: str) -> None:
        """End, however the run ended."""
        ...

    def describe(self) -> Mapping[str, Any]:
        """Kind, run id, folder or address, for the record."""
        ...


class NoTracker:
    """A tracker that is off."""

    def start(self, card: RunCard) -> None:
        """Nothing."""

    def finish(self, summary: Mapping[str, Any], status: str) -> None:
        """Nothing."""

    def describe(self) -> Mapping[str, Any]:
        """Only that there is none."""
        return {"kind": "none"}


@dataclass
class WandbTracker:
    """One W&B run for one run of ours, under the same id: group = study, job type = strategy.

    Attributes:
        project: W&B's project.
        entity: user or team; None: the default of the key.
        mode: `online`, `offline`, or `auto`: online where a key is set.
        timeout: seconds that an absent server may cost at each of start and finish.
        tags: added to the run.

    Raises:
        InputError: another mode.
    """

    project: str
    entity: str | None
    mode: str
    timeout: float
    tags: Sequence[str]
    _run: Any = field(default=None, init=False)
    _told: dict[str, Any] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        connection.check(self.mode, "tracker.mode")

    def start(self, card: RunCard) -> Logger | None:
        """Start the run, offline where no server answers within `timeout`."""
        started = connection.start(
            connection.modes(self.mode, self.timeout, "tracker.mode"),
            self.timeout,
            card.goes_on,
            project=self.project,
            entity=self.entity,
            group=card.study,
            job_type=card.strategy,
            name=card.name,
            id=f"{card.study}-{card.run_id}".replace("/", "-"),
            tags=hidden([*self.tags, *card.tags]),
            dir=card.folder.resolve(),  # W&B's service stays where the first run of the process began
            config=dict(card.config),
        )
        if started is None:
            self._told = {"kind": "wandb", "run_id": None, "mode": "failed"}
            return None
        self._run, mode = started
        folder = os.path.relpath(Path(self._run.dir).parent, card.folder)
        self._told = {"kind": "wandb", "run_id": self._run.id, "mode": mode, "folder": folder}
        if mode == "online":
            self._told["url"] = self._run.url
        return _Guarded(experiment=self._run)

    def finish(self, summary: Mapping[str, Any], status: str) -> None:
        """Write the summary and close the run, so that the next job of a sweep starts one of its own."""
        if self._run is None:
            return
        try:
            self._run.summary.update(hidden({**summary, "status": status}))
            self._run.finish(exit_code=0 if status == "finished" else 1)
        except Exception as error:
            _log.warning("W&B could not finish: %s", error)
            connection.start_over()
        self._run = None

    def describe(self) -> Mapping[str, Any]:
        """Kind, run id, mode, folder, and the address if it is online."""
        return self._told


class _Guarded(WandbLogger):
    """Lightning's logger, which a lost connection silences instead of ending the training."""

    _lost = False

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if self._lost:
            return
        try:
            super().log_metrics(metrics, step)
        except Exception as error:
            self._lost = True
            # a log line: a warning from here would count as Lightning's, and those are kept quiet
            _log.warning("W&B is lost, the run goes on without it: %s", error)
