"""`hydra/sweeper=optuna` and `halving`: trials drawn by Optuna, candidates that race, for whatever launcher."""

from typing import TYPE_CHECKING, Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from transferlab.rounds import Rounds


class SearchSweeper(Sweeper):
    """Searches as `conf/hydra/sweeper/optuna.yaml` says, which composed it is handed at `setup`."""

    def __init__(self, **settings: Any) -> None:
        """Settings are read where they are used."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra gives."""
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Carry out the searches of a command's overrides."""
        from transferlab.sweeping import Sweep

        Sweep(self._rounds()).carry_out(arguments)

    def _rounds(self) -> "Rounds":
        from transferlab.rounds import Rounds

        assert self.hydra_context is not None and self.config is not None and self.launcher is not None
        return Rounds(self.hydra_context.config_loader, self.config, self.launcher)


class HalvingSweeper(SearchSweeper):
    """Races as `conf/hydra/sweeper/halving.yaml` says."""

    def sweep(self, arguments: list[str]) -> None:
        """Carry out the races of a command's overrides."""
        from transferlab.racing import Racing

        Racing(self._rounds()).carry_out(arguments)
