"""What a process does with the jobs that it is given: as Hydra's own launcher, but every line goes to the parent."""

import logging
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from logging.handlers import QueueHandler

from hydra import version
from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from transferlab.launching.pool import Tell
from transferlab.offspring import portable


@dataclass(frozen=True)
class Begun:
    """Told before a job.

    Attributes:
        number: of the job.
    """

    number: int


@dataclass(frozen=True)
class Ended:
    """Told after a job.

    Attributes:
        number: of the job.
        returned: what Hydra expects of a launcher, as if nothing had been raised.
        error: what was raised.
        traceback: of that, as text: it does not travel.
    """

    number: int
    returned: JobReturn
    error: Exception | None = None
    traceback: str = ""


class RemoteError(Exception):
    """Where in another process an error was raised; its cause, so that a traceback shows it."""


@dataclass(frozen=True)
class Jobs:
    """Does jobs in a process that was just started.

    Attributes:
        context: Hydra's loader and callbacks.
        function: does a job.
        aloud: whether lines are also written where the process writes to.
    """

    context: HydraContext
    function: TaskFunction
    aloud: bool

    def __call__(self, configs: Sequence[DictConfig], tell: Tell) -> None:
        """Do jobs; several are trained together where that can be done."""
        from transferlab import jobs
        from transferlab.launching.configs import alone

        version.setbase("1.3")
        setup_globals()
        configure_log(configs[0].hydra.job_logging, configs[0].hydra.verbose)
        root = logging.getLogger()
        root.handlers = [*(root.handlers if self.aloud else []), _ToParent(tell)]  # type: ignore[arg-type]
        jobs.elsewhere()
        if len(configs) > 1:
            jobs.ahead(alone(configs))
        for config in configs:
            number = int(config.hydra.job.num)
            tell(Begun(number))
            returned = run_job(
                self.function, config, "hydra.sweep.dir", "hydra.sweep.subdir", self.context, configure_logging=False
            )
            tell(_ended(number, returned))


class _ToParent(QueueHandler):
    """Sends each line to the parent."""

    def enqueue(self, record: logging.LogRecord) -> None:
        self.queue(record)  # type: ignore[operator]


def _ended(number: int, returned: JobReturn) -> Ended:
    if returned.status != JobStatus.FAILED:
        return Ended(number, returned)
    error = returned._return_value
    returned.return_value, returned.status = None, JobStatus.COMPLETED
    return Ended(number, returned, portable(error), "".join(traceback.format_exception(error)))
