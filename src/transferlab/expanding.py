"""The single jobs of a command: their words, their configs, and a launch of chosen ones. No torch."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from transferlab import migrations
from transferlab.composing import Composer, Plan, is_listed, values

SWEEPER = f"{BasicSweeper.__module__}.{BasicSweeper.__qualname__}"
"""Hydra's own, which runs what is listed; any other searches."""
CHOOSING = ("budget", "choice")
"""What a config says of a selection of which its runs are candidates."""


def is_known(plan: Plan) -> bool:
    """Whether the jobs of a command are known before it starts."""
    return plan.config.hydra.sweeper._target_ == SWEEPER and all(map(is_listed, plan.overrides))


def lists(plan: Plan) -> list[list[str]]:
    """What a multirun is the product of, in the order of Hydra's sweeper: for each key its values, as overrides."""
    found: dict[str, list[str]] = {}
    for override in plan.overrides:
        if not override.is_hydra_override():
            key = override.get_key_element()
            found[key] = [f"{key}={value}" for value in values(override)]
    return list(found.values())


def configs(composer: Composer, hydra: Sequence[str], jobs: Iterable[Sequence[str]]) -> Iterator[DictConfig]:
    """The config of each job, as the job will have it; to be looked at before the next is asked for.

    Args:
        composer: of the command.
        hydra: its overrides of Hydra's own section.
        jobs: the other overrides, job by job.
    """
    loader = composer.hydra.config_loader
    master = composer.config(hydra, multirun=True)
    for number, one in enumerate(jobs):
        config = loader.load_sweep_config(master, list(one))
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
            HydraConfig.instance().set_config(config)
            del config["hydra"]
        yield completed(config)


def completed(config: DictConfig) -> DictConfig:
    """The config of one run of today, in place."""
    with open_dict(config):  # saved by an earlier version, it is told what came later
        config.merge_with(migrations.later_keys(OmegaConf.to_container(config)))  # type: ignore[arg-type]
    if config.get("twins"):
        config.twins = False  # of the command, not of its jobs: a saved config is one run
    with open_dict(config):
        for key in CHOOSING:
            config.pop(key, None)  # likewise
    return config


def launch(composer: Composer, job: TaskFunction, hydra: Sequence[str], jobs: Sequence[Sequence[str]]) -> None:
    """Hand jobs that are no product of lists to the launcher that a command names, as a sweeper of Hydra's would.

    Args:
        composer: of the command.
        job: runs one.
        hydra: as `configs` takes it.
        jobs: likewise.
    """
    master = composer.config([*hydra, "hydra.mode=MULTIRUN"], multirun=True)
    callbacks = Callbacks(master)
    callbacks.on_multirun_start(config=master, config_name=composer.config_name)
    launcher = Plugins.instance().instantiate_launcher(
        HydraContext(config_loader=composer.hydra.config_loader, callbacks=callbacks), job, master
    )
    most = master.hydra.sweeper.get("max_batch_size") or len(jobs)
    for first in range(0, len(jobs), most):
        batch = [list(one) for one in jobs[first : first + most]]
        for done in launcher.launch(batch, initial_job_idx=first):
            _ = done.return_value  # raises what the job raised
    callbacks.on_multirun_end(config=master, config_name=composer.config_name)


def settled(config: DictConfig) -> DictConfig:
    """The config with values in place of what only Hydra knows, and only while this job is its own; in place."""
    _settle(config, OmegaConf.to_container(config))
    return config


def _settle(node: DictConfig | ListConfig, raw: Any) -> None:
    for key, words in raw.items() if isinstance(raw, dict) else enumerate(raw):
        if "${hydra:" not in str(words):
            continue
        if isinstance(words, dict | list):
            _settle(node[key], words)
        else:
            node[key] = node[key]
