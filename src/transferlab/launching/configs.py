"""The configs of the jobs of a sweep, before the first starts. No torch."""

from collections.abc import Iterator, Sequence

from hydra.core.hydra_config import HydraConfig
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict

from transferlab.expanding import settled


def composed(
    context: HydraContext, master: DictConfig, job_overrides: Sequence[Sequence[str]], first: int
) -> Iterator[DictConfig]:
    """The config of each job of a batch, with its `hydra` section.

    Args:
        context: Hydra's.
        master: the sweep's config.
        job_overrides: of each job.
        first: the number of the first.
    """
    for number, words in enumerate(job_overrides, first):
        config = context.config_loader.load_sweep_config(master, list(words))
        with open_dict(config):
            config.hydra.job.id = number
            config.hydra.job.num = number
            config.hydra.runtime.output_dir = str(master.hydra.sweep.dir)
        yield config


def alone(configs: Sequence[DictConfig]) -> Iterator[DictConfig]:
    """Each job's config without Hydra's part, which is what `HydraConfig` gives while the job is looked at."""
    for config in configs:
        HydraConfig.instance().cfg = config  # type: ignore[assignment]  # a copy would take longer than all else here
        own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
        yield settled(own)
