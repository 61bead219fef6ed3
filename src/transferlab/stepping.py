"""Lightning's epoch, in whose middle a step costs little more than its mathematics."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import Timer
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from pytorch_lightning.plugins.precision import DoublePrecision, HalfPrecision, MixedPrecision, Precision
from pytorch_lightning.profilers import PassThroughProfiler
from pytorch_lightning.strategies import SingleDeviceStrategy
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from transferlab.data.loading import TAUGHT
from transferlab.module import TransferModule
from transferlab.optim import set_rates
from transferlab.values import Entered

_HOOKS = ("on_train_batch_start", "on_after_backward", "on_train_batch_end")
_PRECISIONS = (Precision, DoublePrecision, HalfPrecision, MixedPrecision)


class Epoch(_TrainingEpochLoop):
    """Between the first and the last batch of an epoch, steps without what Lightning does around each.

    The first batch of an epoch and its last go Lightning's way, so whatever looks at a beginning or an end finds it.
    Those between are the same operations in the same order: forward, backward, the hooks `on_train_batch_start`,
    `on_after_backward` and `on_train_batch_end` of the callbacks that have them, the optimiser and its rates. What
    asks for more of a step (several devices, accumulated or clipped gradients, scaled losses, validation within an
    epoch, a limit of time, a profiler) has all batches go Lightning's way.
    """

    def advance(self, data_fetcher: Any) -> None:
        """One batch; after the first of an epoch also those up to the last."""
        super().advance(data_fetcher)
        between = int(self.trainer.num_training_batches) - 2
        whole = self.trainer.val_check_batch == self.trainer.num_training_batches
        if self.batch_progress.current.ready == 1 and between > 0 and whole and plain(self.trainer):
            self._go_on(data_fetcher, between)

    def _go_on(self, batches: Any, count: int) -> None:
        trainer, module = self.trainer, cast(TransferModule, self.trainer.lightning_module)
        begin, look, end = (_having(trainer, name) for name in _HOOKS)
        optimizer, scheduler = trainer.optimizers[0], cast(LambdaLR, trainer.lr_scheduler_configs[0].scheduler)
        forward = trainer.precision_plugin.forward_context
        progress = self.automatic_optimization.optim_progress.optimizer
        here = module.device.type == "cpu"
        with _trained(optimizer, scheduler) as next_rates:
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            for number in range(1, count + 1):
                batch = self._taken(next(batches)[0], here)
                for hook in begin:
                    hook(trainer, module, batch, number)

                def closure(batch: Any = batch, number: int = number) -> Tensor:
                    with forward():
                        loss = module.training_step(batch, number)
                    for parameter in parameters:
                        parameter.grad = None
                    loss.backward()  # type: ignore[no-untyped-call]
                    for hook in look:
                        hook(trainer, module)
                    return loss

                with torch.enable_grad():
                    loss = optimizer.step(closure)
                progress.step.increment_by(1)
                next_rates()
                for hook in end:
                    hook(trainer, module, {"loss": loss}, batch, number)
                if trainer.received_sigterm:
                    raise SIGTERMException
        for counted in (self.batch_progress, self.scheduler_progress, progress.zero_grad):
            counted.increment_by(count)
        self._batches_that_stepped += count

    def _taken(self, batch: Any, on_cpu: bool) -> Any:
        """A batch on the device, as the net takes it; one that has entered on a CPU is there."""
        trainer = self.trainer
        domains = {domain: part for domain, part in batch.items() if domain != TAUGHT}
        if on_cpu and all(isinstance(part[0], Entered) for part in domains.values()):
            return {**batch, **{domain: part[:2] for domain, part in domains.items()}}
        batch = trainer.precision_plugin.convert_input(batch)
        return trainer.strategy.batch_to_device(batch)


def plain(trainer: Trainer) -> bool:
    """Whether nothing is asked of a step but its mathematics."""
    return (
        isinstance(trainer.strategy, SingleDeviceStrategy)
        and type(trainer.precision_plugin) in _PRECISIONS
        and getattr(trainer.precision_plugin, "scaler", None) is None
        and trainer.accumulate_grad_batches == 1
        and not trainer.gradient_clip_val
        and trainer.max_steps == -1
        and isinstance(cast(Any, trainer).profiler, PassThroughProfiler)
        and not any(isinstance(one, Timer) for one in cast(Any, trainer).callbacks)
    )


def _having(trainer: Trainer, name: str) -> list[Callable[..., None]]:
    """A hook of the callbacks that have it."""
    return [getattr(one, name) for one in cast(Any, trainer).callbacks if _own(one, name)]


def _own(callback: Callback, name: str) -> bool:
    return getattr(type(callback), name) is not getattr(Callback, name)


@contextmanager
def _trained(optimizer: Optimizer, scheduler: LambdaLR) -> Iterator[Callable[[], None]]:
    """Show the optimiser the groups of which something trains; calling what is given sets the rates of the next step.

    A parameter without a gradient is nothing to an optimiser but the time it takes to pass over it.
    """
    groups = optimizer.param_groups
    rates = zip(groups, scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
    live = [one for one in rates if any(parameter.requires_grad for parameter in one[0]["params"])]

    def next_rates() -> None:
        scheduler.last_epoch += 1
        scheduler._step_count += 1
        for group, base, factor in live:
            group["lr"] = base * factor(scheduler.last_epoch)

    optimizer.param_groups = [group for group, _, _ in live]
    try:
        yield next_rates
    finally:
        optimizer.param_groups = groups
        set_rates(scheduler)
