"""The LightningModule: one step, and the hooks through which a strategy acts."""

import random
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import MetricCollection

from transferlab.backbones.base import Backbone
from transferlab.data.loading import TAUGHT, size
from transferlab.errors import DivergedError, InputError
from transferlab.listening import Listener
from transferlab.losses.base import Observation, Step, TransferLoss
from transferlab.losses.teacher import Lessons, Teacher
from transferlab.optim import BuildOptimizer, Schedule, learning_rate, parameter_groups
from transferlab.seeding import derive
from transferlab.shares import Share
from transferlab.strategy import Strategy
from transferlab.tasks import base
from transferlab.tasks.base import Task
from transferlab.values import Value, samples

Batch: TypeAlias = Mapping[str, Any]
"""By domain inputs x as the backbone takes them and labels y (B, ...); under `TAUGHT` what teachers made of them."""

Observe: TypeAlias = Callable[[Value, Tensor], Observation]
"""Sends inputs and labels of one domain's batch through the net."""

CHECK_EVERY = 50
"""How many steps may pass before a NaN is noticed; reading a loss makes an accelerator wait."""


class TransferModule(LightningModule):
    """Trains a backbone and a head as a strategy says.

    Args:
        backbone: with its starting weights.
        head: the target's new head.
        task: loss and metrics.
        strategy: its losses are prepared already.
        optimizer: builds the optimiser from parameter groups.
        schedule: learning rates over training.
        outputs: how many classes or other outputs the data name.
        seed: of the run; each epoch starts from a random state of its own.
        teachers: that its losses look up to.
    """

    def __init__(
        self,
        backbone: Backbone,
        head: nn.Module,
        task: Task,
        strategy: Strategy,
        optimizer: BuildOptimizer,
        schedule: Schedule,
        outputs: int,
        seed: int,
        teachers: Mapping[str, Teacher] | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.losses = nn.ModuleDict(dict(strategy.losses))
        self.teachers = nn.ModuleDict(dict(teachers or {}))
        self.task = task
        self.strategy = strategy
        self.schedule = schedule
        self.seed = seed
        self.stages = (*backbone.parametric, "head")
        self.trainable: tuple[str, ...] = ()
        self.build_optimizer = optimizer
        self._steps = 1
        self._sums: dict[str, Tensor] = {}
        self._seen = 0
        self._metrics = nn.ModuleDict(
            {f"{split}_metrics": base.own(task.metrics(outputs)) for split in ("val", "test")}
        )
        self.beside: Callable[[], Mapping[str, Tensor]] = dict
        """Reads what a checkpoint leaves out."""
        # asked here once so that a wrong schedule ends the run before the first step
        strategy.trainable(self.stages, 0)

    @property
    def measured(self) -> tuple[str, ...]:
        """Names of what validation measures."""
        metrics = cast(Any, self.metrics("val"))
        return ("val/loss", *(f"val/{name}" for name in metrics))

    @property
    def tested(self) -> tuple[str, ...]:
        """Names of what the test split measures."""
        return tuple(name.replace("val/", "test/") for name in self.measured)

    def metrics(self, split: str) -> MetricCollection:
        """Those of `val` or `test`, which whoever takes them resets."""
        return cast(MetricCollection, self._metrics[f"{split}_metrics"])

    def configure_optimizers(self) -> Any:
        """All parameters from step 0; a rate of its own clock for each group."""
        rate = learning_rate(self.build_optimizer)
        losses = cast(Mapping[str, nn.Module], self.losses)
        live = self.strategy.frozen_batchnorm == "trains"
        groups = parameter_groups(self.backbone, self.head, losses, rate, self.strategy.lr_decay, live)
        if self.strategy.replaces_weight_decay:
            # a head of a loss's own is not what the penalty is about
            groups = [g if g["name"].startswith("loss/") else {**g, "weight_decay": 0.0} for g in groups]
        optimizer = self.build_optimizer(groups)
        steps = self._steps = int(self.trainer.estimated_stepping_batches)
        epochs = int(self.trainer.max_epochs or 1)
        if not isinstance(self.strategy.freezing, Listener):  # which has not decided yet
            for epoch in range(epochs):
                self._chosen(epoch)
        first = self.strategy.first_epochs(self.stages, epochs)

        def rate_factor(name: str) -> Any:
            def factor(step: int) -> float:
                # asked anew each step: a schedule that listens decides on the way
                epoch = 0 if from_the_start else first.get(name.removeprefix("backbone/"))
                return self.schedule.factor(None if epoch is None else epoch * steps / epochs, steps, step)

            from_the_start = name.startswith(("loss/", "batchnorm/"))
            return factor

        scheduler = LambdaLR(optimizer, [rate_factor(str(group["name"])) for group in groups])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put together again what lies in two files."""
        checkpoint["state_dict"] = {**self.beside(), **checkpoint["state_dict"]}

    def on_train_epoch_start(self) -> None:
        """Start from the epoch's own random state, and freeze what the schedule freezes in it."""
        start_random_state(self.seed, "epoch", self.current_epoch)
        self.freeze_in(self.current_epoch)

    def freeze_in(self, epoch: int) -> None:
        """Freeze what the schedule, as far as it has decided, freezes in an epoch."""
        chosen = self._chosen(epoch)
        self.trainable = tuple(stage for stage in self.stages if stage in chosen)
        # a stage without parameters, say a dropout before the head, is live where nothing is frozen
        silent = set(self.backbone.stages) - set(self.stages) if chosen == set(self.stages) else set()
        self.backbone.set_trainable((chosen - {"head"}) | silent, self.strategy.frozen_batchnorm)
        self.head.requires_grad_("head" in chosen).train("head" in chosen)

    def _chosen(self, epoch: int) -> set[str]:
        """The stages that train in an epoch.

        Raises:
            InputError: the strategy's adapter leaves nothing of them to train.
        """
        chosen = self.strategy.trainable(self.stages, epoch)
        live = self.strategy.frozen_batchnorm
        if "head" not in chosen and not any(self.backbone.trains(stage, live) for stage in chosen):
            raise InputError(
                f"nothing trains in epoch {epoch}: the schedule trains {', '.join(sorted(chosen))}, of which "
                "strategy.adapter leaves nothing to train; choose another strategy.freezing, or adapter"
            )
        return chosen

    def observe(self, x: Value, y: Tensor) -> Observation:
        """Send one domain's batch through the net."""
        features, activations, outputs = base.observe(self.backbone, self.head, x, self.strategy.activations)
        return Observation(x, y, activations, features, outputs)

    def _divided(self, batch_idx: int) -> Observe:
        """Sends this process's share of a batch through the net, and gives what became of the whole.

        What the net draws differs from process to process; what losses draw afterwards does not.
        """
        process, processes = self.trainer.global_rank, self.trainer.world_size
        devices = [] if self.device.type == "cpu" else [self.device]

        def observe(x: Value, y: Tensor) -> Observation:
            share = Share(process, processes, samples(x))
            if share.is_whole:
                return self.observe(x, y)
            with torch.random.fork_rng(devices, device_type=self.device.type):
                torch.manual_seed(derive(self.seed, "epoch", self.current_epoch, "batch", batch_idx, process))
                found = self.observe(share.of(x), cast(Tensor, share.of(y)))
            whole = (share.together(part) for part in (found.activations, found.features, found.outputs))
            return Observation(x, y, *whole)

        return observe

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The task loss on labels of the target plus each transfer loss times its weight; every term is logged."""
        progress = self.progress_at(self.global_step)
        several = self.trainer.world_size > 1
        terms = self.terms(batch, progress, self._divided(batch_idx)) if several else self.terms(batch, progress)
        total = torch.stack(list(terms.values())).sum() if len(terms) > 1 else next(iter(terms.values()))
        self._count(terms, size(batch), batch_idx)
        return total

    def terms(self, batch: Batch, progress: float, observe: Observe | None = None) -> dict[str, Tensor]:
        """The task loss as `task` where the batch has labels of the target, and each transfer loss times its weight.

        Args:
            batch: as it is trained on.
            progress: share of training, in [0, 1).
            observe: sends a domain's batch through the net; None: as a whole.
        """
        observe = observe or self.observe
        observed = {domain: observe(*pair) for domain, pair in batch.items() if domain != TAUGHT}
        target = observed.get("target")
        teachers = cast(Mapping[str, Teacher], self.teachers)
        asked = target or observed.get("unlabeled") or next(iter(observed.values()))
        taught = Lessons(teachers, asked, self.strategy.taught, batch.get(TAUGHT, {}))
        weights = {name: net.weight for name, net in teachers.items()}
        step = Step(self.backbone, self.head, self.task, observed, taught, weights, progress)
        terms = {} if target is None else {"task": self.task.loss(target.outputs, target.y)}
        for name, loss in self.losses.items():
            loss = cast(TransferLoss, loss)
            terms[name] = loss.weight_at(progress) * loss(step)
        return terms

    def progress_at(self, step: int) -> float:
        """The share of training, in [0, 1), that is done before a step."""
        return step / self._steps

    def validation_step(self, batch: tuple[Value, Tensor], batch_idx: int) -> Any:
        """Loss and metrics on the labels held out; gives the outputs to whoever watches."""
        return self._evaluate(batch, "val")

    def test_step(self, batch: tuple[Value, Tensor], batch_idx: int) -> Any:
        """Loss and metrics on the test split; gives the outputs to whoever reports on them."""
        return self._evaluate(batch, "test")

    def on_train_epoch_end(self) -> None:
        """Stop if the epoch diverged."""
        self._raise_if_diverged()

    def _evaluate(self, batch: tuple[Value, Tensor], split: str) -> Any:
        x, y = batch
        _, _, outputs = base.observe(self.backbone, self.head, x)
        metrics = cast(Any, self.metrics(split))
        metrics.update(*self.task.scored(outputs, y))
        # what the test split says goes into the record alone, never before the end into a log
        options: dict[str, Any] = {"on_step": False, "on_epoch": True, "logger": split == "val"}
        # Lightning's mean takes any number for a weight
        weight = cast(int, base.counted(self.task, y))
        self.log(f"{split}/loss", self.task.loss(outputs, y), batch_size=weight, **options)
        self.log_dict({f"{split}/{name}": metric for name, metric in metrics.items()}, **options)
        return outputs

    def _count(self, terms: Mapping[str, Tensor], samples: int, batch_idx: int) -> None:
        """Add up the epoch's terms; the last batch logs means, as Lightning's own cost more than a head."""
        if batch_idx == 0:
            self._sums, self._seen = {}, 0
        for name, term in terms.items():
            exact = term.detach().to(torch.promote_types(term.dtype, torch.float32))  # half of it would overflow
            before = self._sums.get(name)
            self._sums[name] = exact * samples if before is None else before.add_(exact, alpha=samples)
        self._seen += samples
        if batch_idx % CHECK_EVERY == 0:
            self._raise_if_diverged()
        if self.trainer.is_last_batch:
            means = {f"train/{name}_loss": summed / self._seen for name, summed in self._sums.items()}
            self.log_dict(means, on_step=False, on_epoch=True, batch_size=1)

    def _raise_if_diverged(self) -> None:
        if not all(summed.isfinite() for summed in self._sums.values()):
            raise DivergedError.during(self.current_epoch)


def start_random_state(seed: int, *purpose: str | int) -> None:
    """Start torch's, NumPy's and Python's global generators from the seed of a purpose."""
    number = derive(seed, *purpose)
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)
