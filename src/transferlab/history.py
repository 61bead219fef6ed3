"""What is kept of each epoch: a row of numbers, and the weights of the epoch that the selection rule prefers."""

import copy
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from transferlab.data.loading import size
from transferlab.errors import InputError
from transferlab.module import TransferModule
from transferlab.selection.rules import Rule
from transferlab.unchanged import Unchanged, write

Row = dict[str, Any]


class History(Callback):
    """One row an epoch: losses, validation metrics, which stages trained and at what rate.

    Rows travel in the checkpoint, so that a resumed run ends with the rows of an uninterrupted one.
    """

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.seconds = 0.0
        self.earlier = 0.0  # seconds of processes that were killed
        self.samples = 0
        self.trained: set[str] = set()
        self._trainable: tuple[str, ...] | None = None
        self._since = 0.0
        self._rates: dict[str, float] = {}

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock; the rates of the epoch's first step are the ones reported."""
        self._since = time.perf_counter()
        self._rates = {group["name"]: float(group["lr"]) for group in trainer.optimizers[0].param_groups}

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """Count the samples trained on, of the target where there are any."""
        self.samples += size(args[1])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the epoch's row, and log what the metrics do not say."""
        assert isinstance(pl_module, TransferModule)
        if pl_module.trainable != self._trainable:
            self.trained |= {name for name, p in pl_module.named_parameters() if p.requires_grad}
            self._trainable = pl_module.trainable
        self.seconds += time.perf_counter() - self._since
        metrics = {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
        row = {"epoch": trainer.current_epoch, **metrics, "trainable": list(pl_module.trainable), "lr": self._rates}
        self.rows.append(row)
        if trainer.logger is not None:
            trainer.logger.log_metrics(self._flags(pl_module, self._rates), step=trainer.global_step - 1)

    def state_dict(self) -> dict[str, Any]:
        """Everything counted so far."""
        return {
            "rows": self.rows,
            "seconds": self.seconds,
            "samples": self.samples,
            "trained": sorted(self.trained),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.rows[:] = state_dict["rows"]  # the record has the same list
        self.seconds, self.samples = state_dict["seconds"], state_dict["samples"]
        self.earlier = self.seconds
        self.trained = set(state_dict["trained"])

    @staticmethod
    def _flags(module: TransferModule, rates: Mapping[str, float]) -> dict[str, float]:
        parameters = [p for name, p in module.named_parameters() if not name.startswith("teachers.")]
        share = sum(p.numel() for p in parameters if p.requires_grad) / max(sum(p.numel() for p in parameters), 1)
        flags = {f"trainable/{stage}": float(stage in module.trainable) for stage in module.stages}
        return {**flags, "trainable/share": share, **{f"lr/{name}": rate for name, rate in rates.items()}}


class KeepSelected(Callback):
    """Keeps the weights of the epoch with the highest score; of equals the latest.

    Runs after `History`, and after the oracle where that is the rule, whose row is then read `beside` the history's. A
    run killed between these weights and its checkpoint does the epoch again, to the same end.
    """

    def __init__(
        self,
        rule: Rule,
        history: History,
        path: Path,
        unchanged: Unchanged | None = None,
        beside: Callable[[], Row] = dict,
    ) -> None:
        self.rule, self.history, self.path, self.unchanged, self.beside = rule, history, path, unchanged, beside
        self.in_memory = False
        """Whether they lie there instead of in a file, as of a fit that nobody can resume."""
        self._kept: dict[str, Tensor] = {}
        self.best: float | None = None
        self.epoch = 0

    def check(self, measured: Iterable[str]) -> None:
        """Ask the rule for the score of an imagined epoch, so that one that lacks its metric says so before training.

        Args:
            measured: names of what validation measures; nothing where no labels are held out.

        Raises:
            InputError: the rule reads something else.
        """
        self.rule({"epoch": 0, **dict.fromkeys(measured, 0.0)})

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score the epoch just ended."""
        assert isinstance(pl_module, TransferModule)
        score = self.rule({**self.history.rows[-1], **self.beside()})
        score = score if score == score else float("-inf")  # NaN loses against every number
        if self.best is None or score >= self.best:
            self.best, self.epoch = score, trainer.current_epoch
            if trainer.is_global_zero:
                sparse = None if self.unchanged is None or trainer.world_size > 1 else self.unchanged.changed
                found = weights(pl_module, sparse)
                if self.in_memory:
                    self._kept = {key: value.clone() for key, value in found.items()}
                else:
                    write(found, self.path)

    def weights(self, module: TransferModule) -> dict[str, Tensor]:
        """Those of the preferred epoch, all that can change."""
        kept = self._kept if self.in_memory else torch.load(self.path, "cpu", weights_only=True)
        if self.unchanged is None:
            return dict(kept)
        found = {**self.unchanged.read(), **kept}
        # what neither file has no epoch has trained
        return {key: found.get(key, own) for key, own in weights(module).items()}

    def state_dict(self) -> dict[str, Any]:
        """The best score and its epoch."""
        return {"best": self.best, "epoch": self.epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on comparing."""
        self.best, self.epoch = state_dict["best"], state_dict["epoch"]


def weights(module: TransferModule, only: Collection[str] | None = None) -> dict[str, Tensor]:
    """What can change of the backbone, and the head, as one state dict; transfer losses keep theirs to themselves.

    Args:
        module: whose they are.
        only: these of them; None: all.
    """
    if only is not None and not any(key.startswith("backbone.") for key in only):
        head: dict[str, Tensor] = module.head.state_dict(prefix="head.")
        return {key: value for key, value in head.items() if key in only}
    changing = {f"backbone.net.{key}" for key in module.backbone.changing(module.strategy.frozen_batchnorm)}
    found = {key: value for key, value in module.state_dict().items() if key.startswith("head.") or key in changing}
    return found if only is None else {key: value for key, value in found.items() if key in only}


def save_weights(module: TransferModule, path: Path) -> None:
    """Write what can change of the backbone, and the head, whole or not at all."""
    write(weights(module), path)


def save_merged(module: TransferModule, *paths: Path) -> None:
    """Where the strategy's adapter is to be merged, write whole plain nets in place of what was saved of adapted ones.

    Args:
        module: whose weights then are those of the last file.
        paths: of what `save_weights` wrote.
    """
    adapter = module.strategy.adapter
    if adapter is None or adapter.save != "merged":
        return
    for path in paths:
        load_weights(module, path)
        plain = copy.deepcopy(module.backbone)
        adapter.merge(plain)
        head = {key: value for key, value in weights(module).items() if key.startswith("head.")}
        write({f"backbone.{key}": value for key, value in plain.state_dict().items()} | head, path)


def load_weights(module: TransferModule, path: Path) -> None:
    """Read what `save_weights` wrote into backbone and head.

    Raises:
        InputError: the file lacks some of it.
    """
    state = torch.load(path, map_location=module.device, weights_only=True)
    if lacking := weights(module).keys() - state.keys():
        raise InputError(f"{path} lacks {len(lacking)} tensors, e.g. {min(lacking)}: remove its folder and run again")
    module.load_state_dict(state, strict=False)
