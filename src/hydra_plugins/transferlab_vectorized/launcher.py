"""`hydra/launcher=vectorized`: jobs of which a head alone trains are trained together, all others one after another."""

from collections.abc import Iterator, Sequence
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, configure_log, setup_globals
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict


class VectorizedLauncher(BasicLauncher):
    """Runs a batch of a sweep's jobs in this process.

    What can be trained together is, before the first job; its jobs then find their runs done and say so. What cannot
    is trained by its job, as by Hydra's own launcher, after a line that says why.
    """

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Do a batch of jobs, numbered on from the first."""
        from transferlab import jobs

        setup_globals()
        configs = [self._composed(list(words), initial_job_idx + place) for place, words in enumerate(job_overrides)]
        state = Singleton.get_state()
        configure_log(configs[0].hydra.job_logging, configs[0].hydra.verbose)
        jobs.ahead(_alone(configs))
        Singleton.set_state(state)
        return super().launch(job_overrides, initial_job_idx)

    def _composed(self, words: list[str], number: int) -> DictConfig:
        assert self.hydra_context is not None and self.config is not None
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
