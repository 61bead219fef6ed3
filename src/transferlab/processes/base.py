"""What a process of a run asks of the others."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol, TypeAlias

from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from omegaconf import DictConfig


class Company(Protocol):
    """The processes of a run, as one of them sees the others."""

    @property
    def environment(self) -> ClusterEnvironment | None:
        """Who is who; None: there is one process."""
        ...

    def call(self, config: DictConfig, folder: Path) -> None:
        """Have the others begin with a run that lies in a folder; the first one's to do."""
        ...

    def together(self) -> AbstractContextManager[None]:
        """Within, all are there, in one group."""
        ...


Work: TypeAlias = Callable[[DictConfig, Path, Company], None]
"""What a process beside the first does of a run: its config, its folder, and in whose company."""


class Alone:
    """No other process."""

    environment = None

    def call(self, config: DictConfig, folder: Path) -> None:
        """There is none."""

    @contextmanager
    def together(self) -> Iterator[None]:
        """This one is there."""
        yield
