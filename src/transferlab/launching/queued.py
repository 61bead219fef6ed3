"""Jobs that wait in a cluster's queue, and may be sent back there. No torch."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig

from transferlab.launching.worker import Jobs


@dataclass(frozen=True)
class Queued:
    """What submitit carries to a machine of the cluster.

    Attributes:
        jobs: does them there.
    """

    jobs: Jobs

    def __call__(self, configs: Sequence[DictConfig]) -> list[Any]:
        """Do jobs; all that is told of them."""
        if cores := os.environ.get("SLURM_CPUS_PER_TASK"):
            os.environ["OMP_NUM_THREADS"] = cores
        told: list[Any] = []
        self.jobs(configs, told.append)
        return list(told)  # submitit's own last line would be told too

    def checkpoint(self, configs: Sequence[DictConfig]) -> Any:
        """The same again, when the time is over or the place is needed: each run goes on from its last epoch."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, configs)
