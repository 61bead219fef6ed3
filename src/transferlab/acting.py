"""How the parts of a strategy that are no losses act while Lightning fits."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from transferlab.averaging import Average, Averaging, recompute
from transferlab.backbones.base import Backbone
from transferlab.data.module import Domain, TransferData
from transferlab.diagnostics.probe import undisturbed
from transferlab.freezing import Freezing
from transferlab.history import weights
from transferlab.interpolation import Interpolation
from transferlab.listening import Listener
from transferlab.losses.base import Study, TransferLoss
from transferlab.losses.teacher import Teacher
from transferlab.module import TransferModule
from transferlab.optim import set_rates


class Studies(Callback):
    """Lets losses go through training splits before the first step, to be kept in checkpoints, or before each epoch."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Net and data lie where the run trains."""
        self._study(trainer, pl_module, lambda loss: bool(loss.studies) and not loss.studied)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The weights are those that the epoch begins with."""
        self._study(trainer, pl_module, lambda loss: bool(loss.restudies))

    def _study(self, trainer: Trainer, pl_module: LightningModule, due: Callable[[TransferLoss], bool]) -> None:
        assert isinstance(pl_module, TransferModule)
        data = cast(TransferData, cast(Any, trainer).datamodule)

        def batches(domain: str, size: int) -> Iterator[Domain]:
            for batch in data.studied(domain, size):
                yield trainer.strategy.batch_to_device(batch)

        teachers = cast(Mapping[str, Teacher], pl_module.teachers)
        study = Study(pl_module.backbone, pl_module.head, pl_module.task, teachers, batches)
        for loss in cast(Iterable[TransferLoss], pl_module.losses.values()):
            if due(loss):
                with undisturbed(pl_module):
                    loss.study(study)
                if loss.studies:
                    loss.studied.fill_(True)


class Listening(Callback):
    """Tells a schedule that listens what each epoch measured; its decisions travel in the checkpoint.

    Stands behind the history, whose rows it reads.

    Args:
        freezing: of the strategy; one that does not listen is left alone.
        rows: of the history, one an epoch.
    """

    def __init__(self, freezing: Freezing, rows: Callable[[], Sequence[Mapping[str, Any]]]) -> None:
        self.listener = freezing if isinstance(freezing, Listener) else None
        self._rows = rows
        self._sums: dict[str, Tensor] = {}

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add up the gradients of the epoch."""
        if self.listener is None or not self.listener.hears_gradients:
            return
        for name, parameter in cast(TransferModule, pl_module).backbone.named_parameters():
            if parameter.grad is not None:
                before = self._sums.get(name)
                self._sums[name] = parameter.grad.clone() if before is None else before.add_(parameter.grad)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let it decide about the next epoch."""
        if self.listener is not None:
            module = cast(TransferModule, pl_module)
            row = trainer.strategy.broadcast(self._rows()[-1])  # all processes are to decide alike
            self.listener.listen(module.stages, row, self._norms(module.backbone))
            for config in trainer.lr_scheduler_configs:
                set_rates(cast(LambdaLR, config.scheduler))
        self._sums = {}

    def state_dict(self) -> dict[str, Any]:
        """What was decided."""
        return self.listener.state_dict() if self.listener is not None else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on deciding."""
        if self.listener is not None:
            self.listener.load_state_dict(state_dict)

    def _norms(self, backbone: Backbone) -> dict[str, float]:
        names = {id(parameter): name for name, parameter in backbone.named_parameters()}
        norms = {}
        for stage in backbone.parametric:
            sums = [self._sums[names[id(p)]] for p in backbone.stage_parameters(stage) if names[id(p)] in self._sums]
            if sums:
                norms[stage] = float(torch.stack([total.float().square().sum() for total in sums]).sum().sqrt())
        return norms


class Averager(Callback):
    """Puts averaged weights in the net from the last step of an epoch to its end, and when the training is over.

    So they are what validation, selection, the oracle and diagnostics see. Stands behind all others, so that training
    and its checkpoint go on from the weights that train.

    Args:
        averaging: of the strategy; None: this does nothing.
    """

    def __init__(self, averaging: Averaging | None) -> None:
        self.averaging = averaging
        self.average = Average()
        self._training: dict[str, Tensor] | None = None
        self._shown: dict[str, Tensor] = {}
        self._steps = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the step's weights in; at the epoch's end the average takes their place."""
        if self.averaging is None:
            return
        module = cast(TransferModule, pl_module)
        stepped, self._steps = trainer.global_step > self._steps, trainer.global_step
        begun = trainer.global_step > self.averaging.start * trainer.estimated_stepping_batches
        # of an average without a memory the last set alone counts
        if begun and (stepped if self.averaging.decay else trainer.is_last_batch):
            self.average.add(weights(module), self.averaging.share(self.average.count))
        if trainer.is_last_batch and self.average.count:
            self._training = {key: value.clone() for key, value in weights(module).items()}
            module.load_state_dict(self.average.state, strict=False)
            if self.averaging.batchnorm != "averaged":
                data = cast(TransferData, cast(Any, trainer).datamodule)
                domain = next(iter(self.averaging.studies or data.sets.domains))
                batches = data.studied(domain, data.batch_size)
                recompute(module.backbone, (trainer.strategy.batch_to_device(batch)[0] for batch in batches))
            self._shown = {key: value.clone() for key, value in weights(module).items()}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Train on."""
        if self._training is not None:
            pl_module.load_state_dict(self._training, strict=False)
            self._training = None

    def settle(self, module: TransferModule) -> None:
        """What is left of a fit is the average; of one that was done before, too, where Lightning calls no hook."""
        if self._shown:
            module.load_state_dict(self._shown, strict=False)

    def state_dict(self) -> dict[str, Any]:
        """The average so far."""
        return {"count": self.average.count, "state": self.average.state, "steps": self._steps, "shown": self._shown}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on averaging."""
        self.average.count, self.average.state = state_dict["count"], state_dict["state"]
        self._steps, self._shown = state_dict["steps"], state_dict["shown"]


class Anchored(Callback):
    """Keeps the weights before the backbone first trains, for a strategy that goes back towards them in the end.

    Args:
        interpolation: of the strategy; None: this does nothing.
    """

    def __init__(self, interpolation: Interpolation | None) -> None:
        self.interpolation = interpolation
        self.before: dict[str, Tensor] = {}
        self.alpha: float | None = None
        self.curve: list[dict[str, float]] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep them, once."""
        module = cast(TransferModule, pl_module)
        if module.strategy.trainable(module.stages, trainer.current_epoch) - {"head"}:
            self._keep(module)

    def settle(self, module: TransferModule) -> None:
        """Where the backbone never trained, there is nothing to go back to."""
        self._keep(module)

    def state_dict(self) -> dict[str, Any]:
        """The weights."""
        return {"before": self.before}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take them back."""
        self.before = state_dict["before"]

    def _keep(self, module: TransferModule) -> None:
        if self.interpolation is not None and not self.before:
            self.before = {key: value.detach().cpu().clone() for key, value in weights(module).items()}

    def said(self) -> dict[str, Any]:
        """For the record: the alpha that was chosen, and validation and test at all of them."""
        return {} if self.interpolation is None else {"interpolation": {"alpha": self.alpha, "curve": self.curve}}
