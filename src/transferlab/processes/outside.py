"""Processes that srun or torchrun started: all carry out the command, and the first says what of it is to be done."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.distributed as dist
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from omegaconf import DictConfig

from transferlab.errors import DivergedError, InputError
from transferlab.processes.backend import PATIENCE, group
from transferlab.processes.base import Work

_log = logging.getLogger(__name__)
_words: Any = None
"""The group by which they talk, on any device; formed once a process."""
_broken = False
"""Whether this process left the others in the middle of a fit."""


@dataclass(frozen=True)
class _Over:
    """Said when a run is over for the first process."""

    folder: Path


class Outside:
    """The processes of a run, as one of them sees the others.

    Args:
        environment: who is who.

    Raises:
        InputError: an earlier run broke them apart.
    """

    def __init__(self, environment: ClusterEnvironment) -> None:
        global _words
        if _broken:
            raise InputError("the processes lost each other in an earlier run: start the command again")
        self.environment = environment
        if _words is None:
            group(environment)
            _words = dist.new_group(backend="gloo", timeout=PATIENCE)

    @property
    def is_first(self) -> bool:
        """Whether this process writes of the run."""
        return self.environment.global_rank() == 0

    def call(self, config: DictConfig, folder: Path) -> None:
        """Have the others begin."""
        self._said((config, folder))

    @contextmanager
    def together(self) -> Iterator[None]:
        """They are in one group for good; an error of one that is not one of all ends the others."""
        global _broken
        try:
            yield
        except (InputError, DivergedError):
            raise
        except BaseException:
            _broken = True
            raise

    def over(self, folder: Path) -> None:
        """Tell the others that a run is over."""
        if not _broken:
            self._said(_Over(folder))

    def serve(self, folder: Path, work: Work) -> None:
        """Do what the first one says until a run, and whatever it needs before, is over."""
        logging.getLogger("transferlab").setLevel(logging.CRITICAL)  # the first one says it
        while (said := self._said(None)) != _Over(folder):
            if isinstance(said, _Over):
                continue
            try:
                config, run = said
                work(config, run, self)
            except (InputError, DivergedError):  # of all alike
                continue
            except Exception:
                _log.critical("process %d cannot go on", self.environment.global_rank(), exc_info=True)
                os._exit(1)  # whatever the others wait for comes to an end with it

    def _said(self, what: Any) -> Any:
        """What the first one says, which is given there."""
        said = [what]
        dist.broadcast_object_list(said, src=0, group=_words)
        return said[0]
