"""Lightning's DDP among processes that are there already."""

import os
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from pytorch_lightning import Trainer
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.trainer.connectors.signal_connector import _SignalConnector

PATIENCE = timedelta(days=1)
"""How long a process waits for another that lives: the first one does alone what looks on."""


class Here(ClusterEnvironment):
    """What Lightning asks of processes on one machine that their first has started.

    Args:
        rank: of this one.
        processes: how many.
    """

    creates_processes_externally = True
    main_address = "127.0.0.1"
    main_port = 0  # the group is formed before Lightning would

    def __init__(self, rank: int, processes: int) -> None:
        super().__init__()
        self._rank, self._processes = rank, processes

    @staticmethod
    def detect() -> bool:
        """Never by itself."""
        return False

    def world_size(self) -> int:
        """How many."""
        return self._processes

    def set_world_size(self, size: int) -> None:
        """That is known."""

    def global_rank(self) -> int:
        """Of this one."""
        return self._rank

    def set_global_rank(self, rank: int) -> None:
        """That is known."""

    def local_rank(self) -> int:
        """Of this one."""
        return self._rank

    def node_rank(self) -> int:
        """There is one machine."""
        return 0


class Beside(DDPStrategy):
    """DDP that starts no process.

    A stage that is frozen has parameters without gradients, which DDP has to look for; `..._false` in the back-end's
    name says that there will be none.

    Args:
        environment: of the processes.
        name: of the back-end, as the trainer has it.
    """

    def __init__(self, environment: ClusterEnvironment, name: str) -> None:
        super().__init__(
            cluster_environment=environment, find_unused_parameters=not name.endswith("_false"), timeout=PATIENCE
        )

    def _configure_launcher(self) -> None:
        """They are there."""


class Signals(_SignalConnector):
    """SIGTERM is told to the others at the next step's start, in step with them; Lightning also does so at once."""

    def _sigterm_notifier_fn(self, *_: Any) -> None:
        self.received_sigterm = True


def listen(trainer: Trainer) -> None:
    """Have a trainer of several processes take SIGTERM as `Signals` do."""
    trainer._signal_connector = Signals(trainer)


def group(environment: ClusterEnvironment, store: Any = None) -> None:
    """Form the group of all processes, once all have come.

    Args:
        environment: of the processes.
        store: of torch's, through which they meet; None: where `environment` says.
    """
    kinds = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    if store is None:
        os.environ["MASTER_ADDR"] = environment.main_address
        os.environ["MASTER_PORT"] = str(environment.main_port)
    rank, processes = environment.global_rank(), environment.world_size()
    dist.init_process_group(kinds, store=store, timeout=PATIENCE, rank=rank, world_size=processes)
