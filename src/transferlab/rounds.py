"""What a sweeper asks for that decides as it goes: written down for the ledger, then handed to the launcher."""

import copy
import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock
from hydra.core.config_loader import ConfigLoader
from hydra.core.utils import configure_log
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, open_dict

from transferlab.files import check_writable, try_lock
from transferlab.folders import shipped
from transferlab.ledger import plans
from transferlab.ledger.plans import Planned
from transferlab.search.planning import FRESH, Search, fresh

_log = logging.getLogger("transferlab")


class Rounds:
    """The jobs of one command, round by round.

    Args:
        loader: of configs.
        master: the command's config, with its `hydra` section.
        launcher: runs jobs.

    Attributes:
        launched: how many jobs it was handed.
    """

    def __init__(self, loader: ConfigLoader, master: DictConfig, launcher: Launcher) -> None:
        self.loader, self.master, self.launcher = loader, master, launcher
        self.launched = 0

    def speak(self) -> None:
        """Say what there is to say as jobs do; launchers leave it as Hydra does."""
        job = copy.deepcopy(self.master)
        with open_dict(job):
            job.hydra.runtime.output_dir = str(job.hydra.sweep.dir)
        configure_log(job.hydra.job_logging, job.hydra.verbose)

    def launch(self, jobs: Sequence[Sequence[str]]) -> None:
        """Have jobs done.

        Args:
            jobs: the overrides of each.
        """
        for done in self.launcher.launch(jobs, initial_job_idx=self.launched):
            _ = done.return_value  # raises what the job raised
        self.speak()
        self.launched += len(jobs)

    def planned(self, words: Sequence[str], varied: Sequence[str]) -> Planned:
        """A run, as `ledger.plans.drawn` takes it."""
        return plans.drawn(self.loader, self.master, words, varied)

    def leave(self, search: Search, asked: Sequence[Planned], told: Mapping[str, Any]) -> None:
        """Have a study's folder tell of a search and of the runs that it asks for."""
        self._leave(str(search.config.study), search, asked, told)

    def run_fresh(self, found: Sequence[tuple[Search, Sequence[str]]]) -> None:
        """Do the runs of configurations on seeds that no search had, in a study of their own.

        Args:
            found: what each has beside the words of its search.
        """
        jobs, seeds = [], self.master.hydra.sweeper.fresh_seeds
        for search, varied in found:
            asked = [self.planned(words, [words[-1]]) for words in fresh(search, varied, seeds)]
            self._leave(f"{search.config.study}{FRESH}", search, asked, None)
            jobs += asked
        if jobs:
            self.launch([list(run.words) for run in jobs])
            place = jobs[-1].folder.parent
            _log.info("the best of each on %d seeds that no trial had: transferlab compare %s", seeds, place)

    def _leave(self, study: str, search: Search, asked: Sequence[Planned], told: Mapping[str, Any] | None) -> None:
        hydra = [word for word in self.master.hydra.overrides.hydra if not word.startswith("hydra.mode")]
        file = _plan(_folder(search.config, study), search.study)
        plans.leave_drawn(file, study, _start(self.master), hydra, asked, told)


def own(search: Search) -> Path:
    """Where the runs of a search lie."""
    return _folder(search.config, str(search.config.study))


@contextmanager
def held(search: Search) -> Iterator[None]:
    """Of commands that carry out the same search one does; the others wait, and find it done."""
    file = _plan(own(search), search.study).with_suffix(".lock")
    check_writable(file.parent)
    lock = FileLock(file)
    if not try_lock(lock):
        _log.info("waiting for another command that searches %s", search.name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _folder(config: DictConfig, study: str) -> Path:
    """Where the runs of a study lie that has a config's runs beside it."""
    return Path(str(config.paths.runs)) / study


def _plan(folder: Path, name: str) -> Path:
    """The file of a search among a study's plans."""
    return folder / plans.FOLDER / f"{hashlib.sha256(json.dumps(['search', name]).encode()).hexdigest()[:10]}.json"


def _start(master: DictConfig) -> dict[str, str | None]:
    """The config that a command starts from: its name, the user's own folder, and one in place of the shipped one."""
    by = {one.provider: one.path for one in master.hydra.runtime.config_sources if one.schema == "file"}
    main = by.get("main")
    return {
        "name": str(master.hydra.job.config_name),
        "dir": by.get("command-line"),
        "path": None if main == str(shipped("conf")) else main,
    }
