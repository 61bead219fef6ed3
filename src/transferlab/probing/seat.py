"""What a run's callbacks see in place of Lightning's Trainer while it trains beside others."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from pytorch_lightning import Trainer
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from transferlab.optim import set_rates
from transferlab.tracking import NoTracker
from transferlab.training import Run


@dataclass
class Notes:
    """A logger that keeps what is logged until there is one."""

    kept: list[tuple[dict[str, float], int | None]] = field(default_factory=list)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Keep them."""
        self.kept.append((dict(metrics), step))

    def tell(self, logger: Any) -> None:
        """Log everything, in order."""
        for metrics, step in self.kept:
            logger.log_metrics(metrics, step=step)


class Seat:
    """One run's place: where its training stands, and the rest from a Trainer that does not fit it.

    Args:
        run: ready for its first step.
        steps: of an epoch.
        epochs: of the fit; None: as the trainer has it.
    """

    def __init__(self, run: Run, steps: int, epochs: int | None = None) -> None:
        self.run, self.steps = run, steps
        self.trainer: Trainer = run.trainer
        self.current_epoch = self.global_step = 0
        self.max_epochs = epochs or int(run.trainer.max_epochs or 1)
        self.estimated_stepping_batches = steps * self.max_epochs
        self.callback_metrics: dict[str, Tensor | float] = {}
        self.logger = None if isinstance(run.tracker, NoTracker) else Notes()
        trainer = cast(Any, run.trainer)
        trainer.precision_plugin.convert_module(run.module)
        trainer.strategy.connect(run.module)
        trainer._data_connector.attach_data(run.module, datamodule=run.data)
        run.module.trainer = cast(Trainer, self)
        built = run.module.configure_optimizers()
        run.module.trainer = run.trainer
        self.optimizers: list[Optimizer] = [built["optimizer"]]
        self._scheduler: LambdaLR = built["lr_scheduler"]["scheduler"]
        self._number = next(number for number, one in enumerate(self._groups) if one["name"] == "head")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.trainer, name)

    @property
    def group(self) -> Mapping[str, Any]:
        """The head's."""
        return self._groups[self._number]

    def rate(self, step: int) -> float:
        """Of the head at a step."""
        scheduler = self._scheduler
        return float(scheduler.base_lrs[self._number] * scheduler.lr_lambdas[self._number](step))

    def call(self, hook: str, *said: Any) -> None:
        """Have the run's callbacks do what they do at a place of the fit."""
        for callback in self.run.watching.callbacks:
            if callback is not self.run.watching.cache:  # of which nothing is left to do
                getattr(callback, hook)(self, self.run.module, *said)

    def start(self) -> None:
        """Before the first epoch."""
        self.run.module.freeze_in(0)  # and so it stays
        self.call("setup", "fit")
        self.call("on_fit_start")

    def begin(self, epoch: int) -> None:
        """An epoch begins."""
        self.current_epoch = epoch
        self._scheduler.last_epoch = self.global_step
        set_rates(self._scheduler)
        self.call("on_train_epoch_start")

    def tell(self) -> None:
        """Log what was kept, now that there is a logger."""
        if self.logger is not None and self.trainer.logger is not None:
            self.logger.tell(self.trainer.logger)

    def end(self, metrics: Mapping[str, float]) -> None:
        """An epoch ends: what it measured is kept, and logged as Lightning does."""
        self.global_step += self.steps
        self.callback_metrics = dict(metrics)
        if self.logger is not None:
            self.logger.log_metrics({**metrics, "epoch": self.current_epoch}, self.global_step - 1)
        self.call("on_train_epoch_end")

    @property
    def _groups(self) -> list[dict[str, Any]]:
        return self.optimizers[0].param_groups
