"""`hydra/launcher=ray`: the jobs of a sweep as tasks of a Ray cluster, of this machine or of several."""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, configure_log, env_override, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from transferlab.launching.configs import composed
from transferlab.launching.hearing import Hearing
from transferlab.launching.pool import Died
from transferlab.launching.tasks import Tasks
from transferlab.launching.worker import Jobs


class RayLauncher(Launcher):
    """Hands the jobs of a sweep, in their order, to Ray, and gives it again those whose process was lost.

    Args:
        ray: `init` is Ray's, `remote` says of a task, by Ray's names, what it needs and how often it is tried again.
        runs_per_task: runs in one task.
    """

    def __init__(self, ray: Mapping[str, Mapping[str, Any]], runs_per_task: int) -> None:
        self.settings: Any = OmegaConf.to_container(ray) if OmegaConf.is_config(ray) else ray
        self.runs_per_task = runs_per_task

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra gives."""
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Do a batch of jobs, numbered on from the first.

        Raises:
            InputError: Ray is not installed or does not start, or a job is to have no run.
        """
        from transferlab.errors import InputError
        from transferlab.extras import library

        if self.runs_per_task < 1:
            raise InputError(f"hydra.launcher.runs_per_task={self.runs_per_task}: a whole number from 1 on")
        ray = library("ray", "hydra/launcher=ray hands jobs to Ray", "ray")
        setup_globals()
        configs = list(composed(self.hydra_context, self.config, job_overrides, initial_job_idx))
        configure_log(configs[0].hydra.job_logging, configs[0].hydra.verbose)
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        each = self.runs_per_task
        waiting: deque[Sequence[DictConfig]] = deque()
        waiting.extend(configs[first : first + each] for first in range(0, len(configs), each))
        remote = dict(self.settings["remote"])
        again, deaths = remote.pop("max_retries"), Counter[int]()
        work, heard = Jobs(self.hydra_context, self.task_function, aloud=False), Hearing()
        with env_override({"RAY_USAGE_STATS_ENABLED": "0"}), Tasks(ray, work, self.settings["init"], remote) as tasks:
            for task, message in tasks.told(waiting):
                if not isinstance(message, Died):
                    heard.hear(task, message)
                    continue
                lost, spared = heard.divided(task)
                waiting.extend([config] for config in spared)
                for config in lost:
                    number = int(config.hydra.job.num)
                    deaths[number] += 1
                    if again < 0 or deaths[number] <= again:
                        heard.resume(config, message)
                        waiting.append([config])
                    else:
                        heard.lose([config], message)
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        return heard.returned()
