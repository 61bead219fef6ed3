"""What is told of jobs in other processes, said and kept where the sweep was started."""

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig

from transferlab import jobs, results
from transferlab.errors import InputError
from transferlab.launching.configs import alone
from transferlab.launching.pool import Died
from transferlab.launching.worker import Begun, Ended, RemoteError
from transferlab.record import title

_log = logging.getLogger("transferlab")


class Hearing:
    """Hears of the jobs of a sweep, each of which ends once."""

    def __init__(self) -> None:
        self._returned: dict[int, JobReturn] = {}
        self._begun: set[int] = set()

    def returned(self) -> list[JobReturn]:
        """What all jobs returned, in their order."""
        return [self._returned[number] for number in sorted(self._returned)]

    def hear(self, task: Sequence[DictConfig], message: Any) -> None:
        """Hear what is told of one of a task's jobs, or that nothing more will be."""
        if isinstance(message, logging.LogRecord):
            logging.getLogger(message.name).handle(message)
        elif isinstance(message, Begun):
            self._begun.add(message.number)
        elif isinstance(message, Ended):
            self._returned[message.number] = message.returned
            if message.error is not None:
                message.error.__cause__ = RemoteError(f"\n{message.traceback}")
                (config,) = (config for config in task if config.hydra.job.num == message.number)
                self._failed(config, message.error)
        elif isinstance(message, Died):
            self.lose(self._open(task), message)

    def divided(self, task: Sequence[DictConfig]) -> tuple[list[DictConfig], list[DictConfig]]:
        """The jobs of a task whose process died: those that are lost with it, and those that were not begun."""
        still = self._open(task)
        if len(task) == 1:
            return still, []
        begun = [config for config in still if config.hydra.job.num in self._begun]
        return begun, [config for config in still if config.hydra.job.num not in self._begun]

    def lose(self, configs: Iterable[DictConfig], died: Died) -> None:
        """Have jobs end with their process, but for those whose record says that they ended before."""
        for config in configs:
            self._returned[int(config.hydra.job.num)] = JobReturn(
                overrides=list(config.hydra.overrides.task), cfg=config, status=JobStatus.COMPLETED
            )
            (own,) = alone([config])
            if not results.is_over(results.read(results.folder(own))):
                self._failed(config, InputError(f"{died.how}; the same command goes on with this run"))

    def resume(self, config: DictConfig, died: Died) -> None:
        """Say that a job whose process died is done again."""
        (own,) = alone([config])
        _log.warning("%s: %s; going on with it", title(own), died.how)

    def _open(self, task: Sequence[DictConfig]) -> list[DictConfig]:
        return [config for config in task if int(config.hydra.job.num) not in self._returned]

    def _failed(self, config: DictConfig, error: Exception) -> None:
        (own,) = alone([config])
        jobs.failed(int(config.hydra.job.num), title(own), error)
