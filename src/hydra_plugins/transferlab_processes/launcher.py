"""`hydra/launcher=joblib`: the jobs of a sweep in several processes of this machine."""

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from hydra.core.utils import JobReturn, configure_log, env_override, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from transferlab.errors import InputError
from transferlab.launching.configs import composed
from transferlab.launching.hearing import Hearing
from transferlab.launching.pool import Died, Pool
from transferlab.launching.worker import Jobs


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
        from transferlab.cores import threads, usable_cores

        setup_globals()
        configs = composed(self.hydra_context, self.config, job_overrides, initial_job_idx)
        first = next(configs)
        configure_log(first.hydra.job_logging, first.hydra.verbose)
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        size = min(_size(self.n_jobs, usable_cores()), len(job_overrides))
        each = -(-len(job_overrides) // size) if self.together else 1
        coming = _shares(chain([first], configs), each)
        shared = {"OMP_NUM_THREADS": threads(usable_cores() // size), progress.AT_ONCE: str(size)}
        work = Jobs(self.hydra_context, self.task_function, aloud=False)
        heard = Hearing()
        tasks: deque[Sequence[DictConfig]] = deque()
        with env_override(shared), Pool(size, work) as pool:
            for task, message in pool.told(tasks, coming):
                if isinstance(message, Died):
                    lost, spared = heard.divided(task)
                    heard.lose(lost, message)
                    tasks.extend([config] for config in spared)  # whichever is to blame costs no other now
                else:
                    heard.hear(task, message)
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        return heard.returned()


def _shares(configs: Iterator[DictConfig], each: int) -> Iterator[list[DictConfig]]:
    """So many jobs at a time."""
    while share := list(islice(configs, each)):
        yield share


def _size(n_jobs: int, cores: int) -> int:
    """How many processes.

    Raises:
        InputError: that is no number of processes.
    """
    if n_jobs != -1 and n_jobs < 1:
        raise InputError(f"hydra.launcher.n_jobs={n_jobs}: a whole number from 1 on, or -1: one process a core")
    return cores if n_jobs == -1 else n_jobs
