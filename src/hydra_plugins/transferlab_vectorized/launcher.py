"""`hydra/launcher=vectorized`: jobs of which a head alone trains are trained together, all others one after another."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, configure_log, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict


class VectorizedLauncher(Launcher):
    """Runs a batch of a sweep's jobs in this process.

    What can be trained together is, before the first job; its jobs then find their runs done and say so. What cannot
    is trained by its job, as by Hydra's own launcher, after a line that says why.
    """

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra hands over."""
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Do a batch of jobs, numbered on from the first."""
        from transferlab import jobs

        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        configs = [self._composed(list(words), initial_job_idx + place) for place, words in enumerate(job_overrides)]
        state = Singleton.get_state()
        configure_log(configs[0].hydra.job_logging, self.config.hydra.verbose)
        jobs.ahead(_alone(configs))
        Singleton.set_state(state)
        done = []
        for config in configs:
            done.append(
                run_job(
                    hydra_context=self.hydra_context,
                    task_function=self.task_function,
                    config=config,
                    job_dir_key="hydra.sweep.dir",
                    job_subdir_key="hydra.sweep.subdir",
                )
            )
            configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        return done

    def _composed(self, words: list[str], number: int) -> DictConfig:
        config = self.hydra_context.config_loader.load_sweep_config(self.config, words)
        with open_dict(config):
            config.hydra.job.id = number
            config.hydra.job.num = number
            config.hydra.runtime.output_dir = str(self.config.hydra.sweep.dir)
        return config


def _alone(configs: Sequence[DictConfig]) -> Iterator[DictConfig]:
    """Each job's config without Hydra's part, which is what `HydraConfig` gives while the job is looked at."""
    for config in configs:
        HydraConfig.instance().set_config(config)
        own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
        _settle(own, OmegaConf.to_container(own))
        yield own


def _settle(node: DictConfig | ListConfig, raw: Any) -> None:
    """Put values in place of what only Hydra knows, and only while this job is its own."""
    for key, words in raw.items() if isinstance(raw, dict) else enumerate(raw):
        if isinstance(words, dict | list):
            _settle(node[key], words)
        elif isinstance(words, str) and "${hydra:" in words:
            node[key] = node[key]
