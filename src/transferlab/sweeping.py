"""Searches carried out: rounds of trials for a launcher, then the best configuration of each study on fresh seeds."""

import copy
import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock
from hydra.core.config_loader import ConfigLoader
from hydra.core.utils import configure_log
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf, open_dict

from transferlab import progress, results
from transferlab.files import check_writable, try_lock
from transferlab.folders import shipped
from transferlab.ledger import plans
from transferlab.ledger.plans import Planned
from transferlab.search import trials
from transferlab.search.planning import FRESH, Search, alone, composed, fresh, searches
from transferlab.search.study import Study

_log = logging.getLogger("transferlab")


class Sweep:
    """The searches of one command.

    Args:
        loader: of configs.
        master: the command's config, with its `hydra` section.
        launcher: runs jobs.
    """

    def __init__(self, loader: ConfigLoader, master: DictConfig, launcher: Launcher) -> None:
        self.loader, self.master, self.launcher = loader, master, launcher
        self._launched = 0

    def carry_out(self, words: Sequence[str]) -> None:
        """Do all trials that are left, and then the runs on fresh seeds.

        Args:
            words: the command's overrides but those of Hydra's own section.

        Raises:
            InputError: it cannot be searched so, or the storage is of another search.
        """
        asked, sweeper = searches(self.loader, self.master, words), self.master.hydra.sweeper
        self._speak()
        trials.begin()
        with ExitStack() as stack:
            for search in sorted(asked, key=lambda one: one.name):
                stack.enter_context(_held(search))
            found = [Study(one, sweeper, trials.place(sweeper, _own(one))) for one in asked]
            progress.expect(sum(one.left() for one in found) + sweeper.fresh_seeds * len(found))
            while any(one.left() for one in found):
                self._launch([(one, number) for one in found for number in one.next(sweeper.n_jobs)])
            for one in found:
                self._tell(one, [])
                _log.info("%s", one.found())
            if sweeper.fresh_seeds:
                self._run_fresh(found)

    def _launch(self, batch: Sequence[tuple[Study, int]]) -> None:
        """Have trials done, when it is written down that they are asked for."""
        jobs = []
        for study in dict.fromkeys(study for study, _ in batch):
            mine = [(number, study.words(number)) for one, number in batch if one is study]
            self._tell(study, [self._planned(study.search.words, varied) for _, varied in mine])
            jobs += [
                [*study.search.words, *varied, trials.word(study.storage, study.search.study, number)]
                for number, varied in mine
            ]
        self._do(jobs)

    def _run_fresh(self, found: Sequence[Study]) -> None:
        if waiting := [one.search.name for one in found if not one.is_over()]:
            _log.warning("fresh seeds wait until all trials have ended, which those of %s have not", waiting[0])
            return
        jobs = []
        for one in found:
            if (best := one.best()) is None:
                _log.warning(
                    "no trial of %s ended with a score: there is nothing to run on fresh seeds", one.search.name
                )
                continue
            runs = fresh(one.search, one.words(best.number), self.master.hydra.sweeper.fresh_seeds)
            planned = [self._planned(words, [words[-1]]) for words in runs]
            self._leave(f"{one.search.config.study}{FRESH}", one, planned, None)
            jobs += [list(run.words) for run in planned]
        if jobs:
            self._do(jobs)
            place = planned[0].folder.parent
            _log.info("the best of each on %d seeds that no trial had: transferlab compare %s", len(runs), place)

    def _do(self, jobs: Sequence[Sequence[str]]) -> None:
        for done in self.launcher.launch(jobs, initial_job_idx=self._launched):
            _ = done.return_value  # raises what the job raised
        self._speak()
        self._launched += len(jobs)

    def _speak(self) -> None:
        """Say what there is to say as jobs do; launchers leave it as Hydra does."""
        job = copy.deepcopy(self.master)
        with open_dict(job):
            job.hydra.runtime.output_dir = str(job.hydra.sweep.dir)
        configure_log(job.hydra.job_logging, job.hydra.verbose)

    def _planned(self, words: Sequence[str], varied: Sequence[str]) -> Planned:
        config = alone(composed(self.loader, self.master, [*words, *(word for word in varied if word not in words)]))
        axes = {**OmegaConf.to_container(config.axes), "seed": config.seed}  # type: ignore[dict-item]
        every = tuple(dict.fromkeys((*words, *varied)))
        return Planned(results.folder(config), axes, every, tuple(varied))

    def _tell(self, study: Study, drawn: Sequence[Planned]) -> None:
        """Tell the ledger of a search."""
        best = study.best()
        place = None if best is None else self._planned(study.search.words, study.words(best.number)).folder
        self._leave(str(study.search.config.study), study, drawn, study.said(place))

    def _leave(self, study: str, found: Study, drawn: Sequence[Planned], search: Mapping[str, Any] | None) -> None:
        """Have a study's folder tell of runs that are asked for."""
        hydra = [word for word in self.master.hydra.overrides.hydra if not word.startswith("hydra.mode")]
        file = _plan(_folder(found.search.config, study), found.search.study)
        plans.leave_drawn(file, study, _start(self.master), hydra, drawn, search)


def _folder(config: DictConfig, study: str) -> Path:
    """Where the runs of a study lie that has a config's runs beside it."""
    return Path(str(config.paths.runs)) / study


def _own(search: Search) -> Path:
    """Where the trials of a search lie."""
    return _folder(search.config, str(search.config.study))


def _plan(folder: Path, name: str) -> Path:
    """The file of a search among a study's plans."""
    return folder / plans.FOLDER / f"{hashlib.sha256(json.dumps(['search', name]).encode()).hexdigest()[:10]}.json"


@contextmanager
def _held(search: Search) -> Iterator[None]:
    """Of commands that carry out the same search one does; the others wait, and find it done."""
    file = _plan(_own(search), search.study).with_suffix(".lock")
    check_writable(file.parent)
    lock = FileLock(file)
    if not try_lock(lock):
        _log.info("waiting for another command that searches %s", search.name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _start(master: DictConfig) -> dict[str, str | None]:
    """The config that a command starts from: its name, the user's own folder, and one in place of the shipped one."""
    by = {one.provider: one.path for one in master.hydra.runtime.config_sources if one.schema == "file"}
    main = by.get("main")
    return {
        "name": str(master.hydra.job.config_name),
        "dir": by.get("command-line"),
        "path": None if main == str(shipped("conf")) else main,
    }
