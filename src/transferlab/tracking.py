"""What Weights & Biases receives. A tracker never stops a run: whatever it cannot do costs a warning."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

from pytorch_lightning.loggers import Logger, WandbLogger

from transferlab.errors import InputError

Mode: TypeAlias = Literal["online", "offline"]
_log = logging.getLogger(__name__)
# servers that failed this process: the other jobs of a sweep do not wait for them again
_given_up: set[str] = set()


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
        if self.mode not in ("auto", "online", "offline"):
            raise InputError(f"tracker.mode={self.mode}: 'auto', 'online' or 'offline'")

    def start(self, card: RunCard) -> Logger | None:
        """Start the run, offline where no server answers within `timeout`."""
        # W&B's reports on itself hold up the end of a process when its server is ill; a user may still switch them on
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        for mode in self._modes():
            try:
                # for the whole process too: else W&B reports on itself to its server, offline or not
                wandb.setup(wandb.Settings(mode=mode))
                self._run = wandb.init(
                    project=self.project,
                    entity=self.entity,
                    group=card.study,
                    job_type=card.strategy,
                    name=card.name,
                    id=f"{card.study}-{card.run_id}".replace("/", "-"),
                    resume="allow" if mode == "online" else None,
                    tags=[*self.tags, *card.tags],
                    dir=card.folder,
                    config=dict(card.config),
                    mode=mode,
                    settings=self._settings(wandb),
                )
            except Exception as error:  # W&B raises its own, the network's and the system's
                _log.warning("W&B could not start %s: %s", mode, error)
                _start_over(wandb)
                if mode == "online":
                    _given_up.add(_address())
            else:
                self._told = {"kind": "wandb", "run_id": self._run.id, "mode": mode, "folder": self._folder(card)}
                if mode == "online":
                    self._told["url"] = self._run.url
                return _Guarded(experiment=self._run)
        self._told = {"kind": "wandb", "run_id": None, "mode": "failed"}
        return None

    def finish(self, summary: Mapping[str, Any], status: str) -> None:
        """Write the summary and close the run, so that the next job of a sweep starts one of its own."""
        if self._run is None:
            return
        try:
            self._run.summary.update({**summary, "status": status})
            self._run.finish(exit_code=0 if status == "finished" else 1)
        except Exception as error:
            import wandb

            _log.warning("W&B could not finish: %s", error)
            _start_over(wandb)
        self._run = None

    def describe(self) -> Mapping[str, Any]:
        """Kind, run id, mode, folder, and the address if it is online."""
        return self._told

    def _modes(self) -> tuple[Mode, ...]:
        # a mode of ours given to W&B beats its own WANDB_MODE, so `auto` has to ask for it
        if self.mode == "offline" or (self.mode == "auto" and os.environ.get("WANDB_MODE", "online") != "online"):
            return ("offline",)
        address = _address()
        if address in _given_up:
            return ("offline",)
        if not _has_key(address):
            if self.mode == "online":
                _log.warning("tracker.mode=online, but no W&B key is set: the run is tracked offline")
            return ("offline",)
        if not _answers(address, self.timeout):
            _given_up.add(address)
            _log.warning("the W&B server %s does not answer: the run is tracked offline", address)
            return ("offline",)
        return ("online", "offline")

    def _settings(self, wandb: Any) -> Any:
        return wandb.Settings(
            silent=True,
            console="off",
            init_timeout=self.timeout,
            finish_timeout=self.timeout,
            finish_timeout_raises=False,
            # a killed run keeps what it logged up to a second ago
            x_transaction_log_flush_interval=0.5,
        )

    def _folder(self, card: RunCard) -> str:
        return os.path.relpath(Path(self._run.dir).parent, card.folder)


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


def _address() -> str:
    return os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")


def _has_key(address: str) -> bool:
    """Whether W&B finds a key: in the environment, or in the netrc file."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    from requests.utils import get_netrc_auth

    return get_netrc_auth(address) is not None


def _answers(address: str, timeout: float) -> bool:
    """Whether a web server answers at an address in time, whatever it says; through a proxy where one is set."""
    import requests

    try:
        requests.get(address, timeout=timeout, stream=True, allow_redirects=False).close()
    except requests.exceptions.SSLError:
        return True  # somebody is there, with a certificate that W&B may have been told to take
    except requests.RequestException:
        return False
    return True


def _start_over(wandb: Any) -> None:
    """Let W&B's helper process go: it holds the id of a run that did not start, or is dead itself."""
    try:
        wandb.teardown()
    except Exception as error:
        _log.debug("W&B could not be torn down: %s", error)
