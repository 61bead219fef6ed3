"""`hydra/launcher=joblib`: the jobs of a sweep in several processes of this machine."""

import logging
import os
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus, configure_log, env_override, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from transferlab.errors import InputError
from transferlab.launching.configs import alone, composed
from transferlab.launching.pool import Died, Pool
from transferlab.launching.worker import Begun, Ended, Jobs, RemoteError


class ProcessesLauncher(Launcher):
    """Hands the jobs of a sweep, in their order, to processes that divide the cores among them.

    Args:
        n_jobs: processes at once; -1: one a core.
        together: each process takes a share of all jobs, and trains together those that can be.
    """

    def __init__(self, n_jobs: int, together: bool) -> None:
        self.n_jobs, self.together = n_jobs, together

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra gives."""
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Do a batch of jobs, numbered on from the first."""
        from transferlab import progress
        from transferlab.cores import usable_cores

        setup_globals()
        configs = composed(self.hydra_context, self.config, job_overrides, initial_job_idx)
        configure_log(configs[0].hydra.job_logging, configs[0].hydra.verbose)
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        size = min(_size(self.n_jobs, usable_cores()), len(configs))
        each = -(-len(configs) // size) if self.together else 1
        tasks = deque(configs[first : first + each] for first in range(0, len(configs), each))
        shared = {"OMP_NUM_THREADS": _threads(usable_cores() // size), progress.AT_ONCE: str(size)}
        work = Jobs(self.hydra_context, self.task_function)
        with env_override(shared), Pool(size, work) as pool:
            ended = _done(pool, tasks)
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        return [ended[number] for number in sorted(ended)]


def _done(pool: Pool[Sequence[DictConfig]], tasks: deque[Sequence[DictConfig]]) -> dict[int, JobReturn]:
    """What jobs returned, by number; what a process tells of them is said here."""
    from transferlab import jobs

    ended: dict[int, JobReturn] = {}
    begun: set[int] = set()
    for task, told in pool.told(tasks):
        by_number = {int(config.hydra.job.num): config for config in task}
        if isinstance(told, logging.LogRecord):
            logging.getLogger(told.name).handle(told)
        elif isinstance(told, Begun):
            begun.add(told.number)
        elif isinstance(told, Ended):
            ended[told.number] = told.returned
            if told.error is not None:
                told.error.__cause__ = RemoteError(f"\n{told.traceback}")
                jobs.failed(told.number, _title(by_number[told.number]), told.error)
        elif isinstance(told, Died):
            for number in by_number.keys() - ended.keys():
                if number in begun or len(task) == 1:
                    error = InputError(f"{told.how}; the same command goes on with this run")
                    jobs.failed(number, _title(by_number[number]), error)
                    ended[number] = _without_value(by_number[number])
                else:
                    tasks.append([by_number[number]])  # by itself now: whichever was to blame, it costs no other
    return ended


def _title(config: DictConfig) -> str:
    from transferlab.record import title

    (own,) = alone([config])
    return title(own)


def _without_value(config: DictConfig) -> JobReturn:
    """What a job returns that did not end."""
    return JobReturn(overrides=list(config.hydra.overrides.task), cfg=config, status=JobStatus.COMPLETED)


def _size(n_jobs: int, cores: int) -> int:
    """How many processes.

    Raises:
        InputError: that is no number of processes.
    """
    if n_jobs != -1 and n_jobs < 1:
        raise InputError(f"hydra.launcher.n_jobs={n_jobs}: a whole number from 1 on, or -1: one process a core")
    return cores if n_jobs == -1 else n_jobs


def _threads(share: int) -> str:
    """Threads of a process: its share of the cores, or fewer where the user says so."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    share = max(1, share)
    return str(min(int(given), share) if given.isdigit() and int(given) else share)
