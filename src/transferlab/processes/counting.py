"""How many processes a run asks for, and who starts them."""

import os
import re

import torch
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from omegaconf import DictConfig, OmegaConf

from transferlab.errors import InputError
from transferlab.shares import LEAST

_BACKEND = re.compile(r"(auto|ddp(_fork|_spawn|_notebook)?(_find_unused_parameters_(true|false))?)")


def count(trainer: DictConfig) -> int:
    """How many processes a run's trainer asks for: one for each device.

    Raises:
        InputError: it asks for several, and for a back-end by which they cannot train here.
    """
    devices = _devices(trainer) * int(trainer.get("num_nodes") or 1)
    if devices > 1 and not _BACKEND.fullmatch(str(trainer.get("strategy"))):
        raise InputError(
            f"trainer.strategy={trainer.get('strategy')} with trainer.devices={trainer.get('devices')}: here each "
            "process of a run holds the whole net, whose weights are frozen, averaged and kept by stage; choose ddp or "
            "ddp_fork, or trainer.devices=1"
        )
    return devices


def outside(processes: int) -> ClusterEnvironment | None:
    """Whoever started so many processes for a run, this one among them; None: nobody did.

    Raises:
        InputError: somebody started another number of them, or in a way that Lightning does not take.
    """
    if os.environ.get("SLURM_NTASKS") == str(processes) and SLURMEnvironment.detect():
        try:
            return SLURMEnvironment(auto_requeue=False)
        except RuntimeError as error:  # --ntasks in place of --ntasks-per-node
            raise InputError(str(error)) from error
    if not all(name in os.environ for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE")):
        return None
    if os.environ["WORLD_SIZE"] != str(processes):
        raise InputError(
            f"torchrun started {os.environ['WORLD_SIZE']} processes, and the run asks for {processes}: set both alike, "
            "by trainer.devices and trainer.num_nodes"
        )
    return TorchElasticEnvironment()


def on_this_machine(trainer: DictConfig) -> int:
    """Processes that divide the cores which this one may use: itself, and those that it will start."""
    processes = count(trainer)
    return 1 if processes == 1 or outside(processes) is not None else processes


def check_divided(config: DictConfig, solves: bool) -> None:
    """See that a run can be divided among several processes.

    Args:
        config: of the run.
        solves: whether its strategy has a solver.

    Raises:
        InputError: it cannot.
    """
    if solves:
        raise InputError(
            f"strategy={config.axes.strategy} is solved for, by one process: set trainer.devices=1, or choose another"
        )
    processes = count(config.trainer)
    if config.batch_size < LEAST * processes:
        raise InputError(
            f"batch_size={config.batch_size} is divided among {processes} processes, of which each is to have at least "
            f"{LEAST} samples: set batch_size={LEAST * processes} or more, or fewer trainer.devices"
        )


def _devices(trainer: DictConfig) -> int:
    """Of one machine; `auto` is one on the CPU, and elsewhere whatever is found."""
    devices, accelerator = trainer.get("devices"), str(trainer.get("accelerator"))
    if str(devices) in ("auto", "-1"):
        found = torch.cuda.device_count() if accelerator in ("auto", "gpu", "cuda") else 1
        return max(found, 1)
    if OmegaConf.is_list(devices) or "," in str(devices):
        return len([one for one in str(devices).strip("[]").split(",") if one.strip()])
    return int(str(devices)) if str(devices).isdigit() else 1
