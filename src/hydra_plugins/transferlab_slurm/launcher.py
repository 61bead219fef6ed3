"""`hydra/launcher=slurm`: the jobs of a sweep in jobs of Slurm, through submitit."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, configure_log, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from transferlab.launching.configs import composed
from transferlab.launching.hearing import Hearing
from transferlab.launching.pool import Died
from transferlab.launching.queued import Queued
from transferlab.launching.queueing import ended, has_left_word
from transferlab.launching.worker import Jobs

# what submitit calls alike for every kind of cluster
_SHARED = ("name", "timeout_min", "nodes", "tasks_per_node", "cpus_per_task", "gpus_per_node", "mem_gb")


class SlurmLauncher(Launcher):
    """Hands a batch of a sweep's jobs to Slurm as one array, and says of each how it ended.

    Args:
        cluster: `slurm`, or another that submitit knows.
        submitit_folder: for its files.
        runs_per_job: runs in one job of Slurm's.
        max_num_timeout: how often a job is started again whose time was over.
        poll_seconds: between two looks at the queue.
        parameters: of sbatch, by submitit's names.
    """

    def __init__(
        self,
        cluster: str,
        submitit_folder: str,
        runs_per_job: int,
        max_num_timeout: int,
        poll_seconds: float,
        **parameters: Any,
    ) -> None:
        self.cluster, self.submitit_folder, self.runs_per_job = cluster, submitit_folder, runs_per_job
        self.max_num_timeout, self.poll_seconds = max_num_timeout, poll_seconds
        plain = {key: OmegaConf.to_container(v) if OmegaConf.is_config(v) else v for key, v in parameters.items()}
        self.parameters = {key if key in _SHARED else f"slurm_{key}": v for key, v in plain.items() if v is not None}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra gives."""
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Do a batch of jobs, numbered on from the first.

        Raises:
            InputError: submitit is not installed, or a job is to have no run.
        """
        from transferlab.errors import InputError
        from transferlab.extras import library

        if self.runs_per_job < 1:
            raise InputError(f"hydra.launcher.runs_per_job={self.runs_per_job}: a whole number from 1 on")

        submitit = library("submitit", f"hydra/launcher=slurm hands jobs to {self.cluster} by submitit", "slurm")
        setup_globals()
        configs = list(composed(self.hydra_context, self.config, job_overrides, initial_job_idx))
        configure_log(configs[0].hydra.job_logging, configs[0].hydra.verbose)
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        again = {"slurm_max_num_timeout": self.max_num_timeout}
        executor = submitit.AutoExecutor(folder=self.submitit_folder, cluster=self.cluster, **again)
        executor.update_parameters(**self.parameters)
        each = self.runs_per_job
        tasks = [configs[first : first + each] for first in range(0, len(configs), each)]
        work = Queued(Jobs(self.hydra_context, self.task_function, aloud=True))
        sent = executor.map_array(work, tasks)
        heard = Hearing()
        for job in ended(sent, self.cluster, self.poll_seconds):
            task = tasks[sent.index(job)]
            told = [Died(f"job {job.job_id} of {self.cluster} died ({job.paths.stderr})")]
            if has_left_word(job):
                with suppress(submitit.core.utils.UncompletedJobError):
                    told = job.task(0).result()
            for message in told:
                heard.hear(task, message)
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        return heard.returned()
