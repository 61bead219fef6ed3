"""The callback that asks the diagnostics which are due, and adds what they say to the epoch's row."""

import logging
import time
from collections.abc import Sequence
from math import isfinite
from typing import Any, Protocol, cast

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from transferlab.data.module import TransferData
from transferlab.diagnostics.base import Diagnostic, Look
from transferlab.diagnostics.plan import Plan, plan, work
from transferlab.diagnostics.probe import Probe, undisturbed
from transferlab.module import TransferModule

_log = logging.getLogger(__name__)
_LEAST = 4  # samples: HSIC_1 is defined from there on


class Rows(Protocol):
    """Whoever keeps a row an epoch."""

    rows: list[dict[str, Any]]


class Watch(Callback):
    """Asks diagnostics after an epoch and adds what they say to its row; stands between `History` and what reads rows.

    What costs no pass through the net is asked after every epoch, the rest as often as the share allows.

    Args:
        parts: the diagnostics.
        share: of the passes that training makes.
        probe: samples to look at, at most.
        exam: samples of the source that will be looked at after training, at most.
        history: whose rows are added to.
    """

    def __init__(self, parts: Sequence[Diagnostic], share: float, probe: int, exam: int, history: Rows) -> None:
        self.parts, self.share, self.history = parts, share, history
        self.seconds = 0.0
        self.earlier = 0.0  # seconds of processes that were killed
        self.plan = Plan(0, frozenset(), 0)
        self._most = {"probe": probe, "exam": exam}
        self._probes: dict[str, Probe] = {}
        self._validation: list[tuple[Tensor, Tensor]] = []
        self._collects = any("validation" in part.reads for part in parts)

    @property
    def _asked_for(self) -> bool:
        """Whether something is to be measured that is not by default."""
        return self.examines or any("batches" in part.reads for part in self.parts)

    @property
    def examines(self) -> bool:
        """Whether forgetting is to be measured after training."""
        return self._most["exam"] > 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Plan, and look at the starting weights: Lightning loads a checkpoint to resume from only after this."""
        if stage != "fit":
            return
        assert isinstance(pl_module, TransferModule)
        started = time.perf_counter()
        data: TransferData = trainer.datamodule  # type: ignore[attr-defined]
        self.plan = self._planned(pl_module, data, int(trainer.max_epochs or 1))
        if self.parts:
            pl_module.to(trainer.strategy.root_device)
            with undisturbed(pl_module):
                self._probes = self._fetched(data)
                look = Look(pl_module, self._probes, data.batch_size, (), 0.0)
                for part in self._able():
                    part.begin(look)
        self.seconds += time.perf_counter() - started

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the last epoch's validation."""
        self._validation = []

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep what validation saw; only of the held-out labels, which are the first loader."""
        if not self._collects or dataloader_idx:
            return
        # of other tasks' outputs, which can be as large as the images, nothing is asked
        if (probabilities := cast(TransferModule, pl_module).task.probabilities(outputs)) is not None:
            self._validation.append((probabilities, batch[1]))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure what is due."""
        assert isinstance(pl_module, TransferModule)
        started = time.perf_counter()
        due = [part for part in self._able() if not _looks(part) or trainer.current_epoch in self.plan.epochs]
        if due:
            data: TransferData = trainer.datamodule  # type: ignore[attr-defined]
            look = Look(
                pl_module,
                self._probes,
                data.batch_size,
                self._validation,
                pl_module.progress_at(trainer.global_step - 1),
            )
            with undisturbed(pl_module), torch.enable_grad():
                said = {name: value for part in due for name, value in part.measure(look).items()}
            said |= {"samples": self.plan.probe} if any(_looks(part) for part in due) else {}
            numbers = {f"diagnostics/{name}": value for name, value in said.items() if isfinite(value)}
            self.history.rows[-1].update(numbers)
            if trainer.logger is not None:
                trainer.logger.log_metrics(numbers, step=trainer.global_step - 1)
        self.seconds += time.perf_counter() - started

    def state_dict(self) -> dict[str, Any]:
        """The seconds spent so far."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.earlier = state_dict["seconds"]
        self.seconds += self.earlier

    def _planned(self, module: TransferModule, data: TransferData, epochs: int) -> Plan:
        trains = [module.strategy.trainable(module.stages, epoch) for epoch in range(epochs)]
        domains = len(module.strategy.reads)
        budget = self.share * work(module.backbone.parametric, trains, len(data.sets.passed_over) * domains)
        once = int(any("probe" in part.reads for part in self.parts))
        each = once + sum(part.passes(module) for part in self.parts)
        # what a run affords in which the head alone trains: strategies are to be compared on equal numbers of samples
        least = self.share * len(data.sets.passed_over) * epochs
        probe = min(self._most["probe"], len(data.sets.passed_over), int(least / 3))
        chosen = plan(budget, epochs, once, each, probe, min(self._most["exam"], int(least / 2)), _LEAST)
        if each and not chosen.probe:
            # of what is on by default nobody has asked, and a sweep would say it in every job
            _log.log(
                logging.INFO if self._asked_for else logging.DEBUG,
                "a run this short has no time for diagnostics that look at samples; diagnostics.share gives them more",
            )
        return chosen

    def _able(self) -> list[Diagnostic]:
        return [part for part in self.parts if self.plan.probe or not _looks(part)]

    def _fetched(self, data: TransferData) -> dict[str, Probe]:
        count = self.plan.probe
        return {name: Probe.of(part, count, data) for name, part in data.sets.domains.items() if count}


def _looks(part: Diagnostic) -> bool:
    """Whether it sends samples through the net."""
    return bool(part.reads & {"probe", "batches"})
