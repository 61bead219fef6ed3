"""Where the trials of a search stand: Optuna's studies in their storage, and the trial that a job is. No torch."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig

from transferlab.composing import quoted
from transferlab.extras import library
from transferlab.files import check_writable
from transferlab.remembering import TRIAL
from transferlab.results import Record
from transferlab.seeding import derive

FILE = "optuna.db"
"""In a study's folder, where no other storage is named."""
_WAIT = 120  # seconds for another process to let go of the file


@dataclass(frozen=True)
class Trial:
    """A trial that a job is.

    Attributes:
        study: Optuna's.
        number: in it.
        pruner: its name.
    """

    study: Any
    number: int
    pruner: str

    def falls_behind(self, epochs: int, score: float) -> bool:
        """Report a score after so many epochs; whether the pruner would break the run off.

        A run that was interrupted reports some epochs again: what was said first counts.
        """
        from optuna.trial import Trial

        with _quiet():
            trial = Trial(self.study, self._id())
            if epochs not in self.study._storage.get_trial(self._id()).intermediate_values:
                trial.report(score, epochs)
            return bool(trial.should_prune())

    def report(self, scores: Iterator[float]) -> None:
        """Report the scores after one epoch, after two, ..., as far as nobody has."""
        storage, trial = self.study._storage, self._id()
        known = storage.get_trial(trial).intermediate_values
        for epochs, score in enumerate(scores, 1):
            if epochs not in known:
                storage.set_trial_intermediate_value(trial, epochs, score)

    def is_open(self) -> bool:
        """Whether nobody has told how it ended."""
        return not self.study._storage.get_trial(self._id()).state.is_finished()

    def finish(self, score: float) -> None:
        """Tell the score of a run that ended well."""
        self._tell(score)

    def drop(self) -> None:
        """Tell that the run ended without one: it was pruned or diverged, so the search keeps away from there."""
        from optuna.trial import TrialState

        self._tell(state=TrialState.PRUNED)

    def _tell(self, *score: float, **state: Any) -> None:
        from optuna.exceptions import UpdateFinishedTrialError

        with _quiet(), suppress(UpdateFinishedTrialError):  # another process of the run was first
            self.study.tell(self.number, *score, **state, skip_if_finished=True)

    def _id(self) -> int:
        storage = self.study._storage
        return int(storage.get_trial_id_from_study_id_trial_number(self.study._study_id, self.number))


def is_one() -> bool:
    """Whether a search asked for the job of this moment."""
    return HydraConfig.initialized() and HydraConfig.get().sweeper.get("trial") is not None


def broke_off(record: Record) -> bool:
    """Whether a search with the pruner of the one that asked for this job broke off its run before."""
    if not is_one() or record["status"] != "pruned":
        return False
    return str(record["reason"]).endswith(f" by {_pruner(HydraConfig.get().sweeper)}")


def here() -> Trial | None:
    """The trial that the job of this moment is; None where no search asked for it."""
    if not is_one():
        return None
    sweeper = HydraConfig.get().sweeper
    study = opened(sweeper, str(sweeper.trial.storage), str(sweeper.trial.study), create=False)
    return Trial(study, int(sweeper.trial.number), _pruner(sweeper))


def _pruner(sweeper: DictConfig) -> str:
    return str(sweeper.pruner["_target_"]).rpartition(".")[2]


def word(storage: str, name: str, number: int) -> str:
    """The override by which a job knows which trial it is."""
    told = {"storage": quoted(storage), "study": quoted(name), "number": str(number)}
    return f"{TRIAL}={{{','.join(f'{key}:{value}' for key, value in told.items())}}}"


def opened(sweeper: DictConfig, storage: str, name: str, create: bool) -> Any:
    """A study of Optuna's, with the sampler and the pruner that a config names.

    Args:
        sweeper: `hydra.sweeper`.
        storage: as `place` gives it.
        name: of the study.
        create: it, where it is not there.

    Raises:
        InputError: Optuna is not installed, or its storage cannot be reached.
    """
    optuna = library("optuna", "hydra/sweeper=optuna searches by Optuna", "search")
    with _quiet():
        made = {"study_name": name, "storage": _storage(storage, os.getpid())}
        made |= {"sampler": sampler(sweeper, name, 0), "pruner": instantiate(sweeper.pruner)}
        if create:
            return optuna.create_study(**made, direction="maximize", load_if_exists=True)
        return optuna.load_study(**made)


def sampler(sweeper: DictConfig, name: str, number: int) -> Any:
    """What draws a trial, by its number: a search that was interrupted goes on as if it had not been."""
    drawn = {"seed": derive(sweeper.sampler.seed, name, number)} if sweeper.sampler.get("seed") is not None else {}
    with _quiet():
        return instantiate(sweeper.sampler, **drawn)


def place(sweeper: DictConfig, study: Path) -> str:
    """The storage that a config names, or else a file in a study's folder.

    Raises:
        InputError: that cannot be written.
    """
    if sweeper.storage is not None:
        return str(sweeper.storage)
    check_writable(study)
    return f"sqlite:///{study.resolve() / FILE}"


def begin() -> None:
    """Forget connections of an earlier command of this process, whose files may have gone."""
    _storage.cache_clear()


@lru_cache
def _storage(address: str, process: int) -> Any:
    """One connection for each process: none of them outlives a fork."""
    from optuna import storages
    from optuna.storages import journal

    if address.endswith(".log"):
        return storages.JournalStorage(journal.JournalFileBackend(address))
    waits = {"connect_args": {"timeout": _WAIT}} if address.startswith("sqlite") else {}
    return storages.RDBStorage(address, engine_kwargs=waits)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's lines, and its warnings that this or that may change."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield
