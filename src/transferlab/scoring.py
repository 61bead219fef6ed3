"""What is measured when the training is over: the test split, the report on it, and what diagnostics look back at."""

import time
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, TypeAlias

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import WandbLogger
from torch import Tensor

from transferlab import files, results
from transferlab.acting import Anchored
from transferlab.data.module import TransferData
from transferlab.diagnostics import saliency
from transferlab.diagnostics.forgetting import Exam, forgetting
from transferlab.diagnostics.privacy import Membership
from transferlab.diagnostics.settings import Settings
from transferlab.diagnostics.watch import Watch
from transferlab.errors import DivergedError, InputError
from transferlab.history import History, KeepSelected, load_weights
from transferlab.interpolation import Interpolation, between
from transferlab.module import TransferModule
from transferlab.selection.rules import name
from transferlab.tasks.report import Reporter

Scored: TypeAlias = Callable[[], dict[str, float]]
"""`test/loss` and the task's metrics, of the weights that a module has."""


class Tested(Callback):
    """Keeps, of each pass over the test split, what the task needs for its report; the last pass is the one reported.

    Nothing of it is logged, and nothing that chooses an epoch can read it: the first pass follows the training.
    """

    def __init__(self) -> None:
        self._kept: list[tuple[Tensor, Tensor]] = []

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget an earlier pass."""
        self._kept = []

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep what the task asks for of a batch."""
        assert isinstance(pl_module, TransferModule)
        task = pl_module.task
        if isinstance(task, Reporter):
            kept, y = task.kept(outputs, batch[1])
            self._kept.append((kept.cpu(), y.cpu()))

    def report(self, module: TransferModule, outputs: int) -> dict[str, Any] | None:
        """The task's report on the last pass; None where the task makes none.

        Args:
            module: the one that was tested.
            outputs: how many classes or other outputs the data name.
        """
        if not isinstance(module.task, Reporter):
            return None
        kept, y = (torch.cat(parts) for parts in zip(*self._kept, strict=True))
        said = module.task.report(kept, y, outputs)
        intervals = {f"test/{metric}": bounds for metric, bounds in said.pop("intervals").items()}
        return {"samples": len(y), "intervals": intervals, **said}


def scores(
    module: TransferModule,
    data: TransferData,
    trainer: Trainer,
    history: History,
    keep: KeepSelected,
    anchored: Anchored,
    test: Scored | None = None,
) -> dict[str, Any]:
    """The last and the selected epoch: what validation said of them, and now, for the first time, the test split.

    Where the strategy interpolates, the selected epoch's weights are replaced by those between it and the start.
    """

    def by_lightning() -> dict[str, float]:
        trainer.test(module, datamodule=data, verbose=False)
        return {key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith("test/")}

    def scored(row: Mapping[str, Any]) -> dict[str, Any]:
        tested = (test or by_lightning)()
        if not isfinite(tested["test/loss"]):
            raise DivergedError(f"the loss of epoch {row['epoch']} on unseen samples is NaN or infinite")
        validated = {key: value for key, value in row.items() if key.startswith("val/")}
        return {"epoch": row["epoch"], **validated, **tested}

    last = scored(history.rows[-1])
    if anchored.interpolation is not None:
        row = interpolated(module, data, trainer, keep, anchored)
        return {"selected": {"rule": name(keep.rule), **scored({**history.rows[keep.epoch], **row})}, "last": last}
    if keep.epoch == last["epoch"]:
        selected = last
    else:
        module.load_state_dict(keep.weights(module), strict=False)
        selected = scored(history.rows[keep.epoch])
    return {"selected": {"rule": name(keep.rule), **selected}, "last": last}


def interpolated(
    module: TransferModule, data: TransferData, trainer: Trainer, keep: KeepSelected, anchored: Anchored
) -> dict[str, float]:
    """Put the chosen weights between start and selected epoch into the net.

    `anchored` then has the whole curve. What is chosen is chosen by the selection rule, never by the test split.

    Returns:
        What validation says of the chosen weights.

    Raises:
        InputError: the choice is validation's, and no labels are held out.
    """
    assert anchored.interpolation is not None
    after, chosen = keep.weights(module), anchored.interpolation
    if chosen.alpha is None and data.sets.val is None:
        raise InputError(
            "strategy.interpolation.alpha=null is chosen on held-out labels: set target.validation, or an alpha"
        )
    logger, trainer.logger = trainer.logger, None  # these are no epochs
    rows: list[dict[str, float]] = []
    for alpha in chosen.alphas:
        module.load_state_dict(between(anchored.before, after, alpha), strict=False)
        row = {"alpha": float(alpha)}
        if data.sets.val is not None:
            trainer.validate(module, datamodule=data, verbose=False)
            row |= {key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith("val/")}
        trainer.test(module, datamodule=data, verbose=False)
        row |= {key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith("test/")}
        rows.append(row)
    trainer.logger = logger
    best = max(rows, key=lambda row: (_liked(row, chosen, keep), row["alpha"]))
    module.load_state_dict(between(anchored.before, after, best["alpha"]), strict=False)
    anchored.curve, anchored.alpha = rows, best["alpha"]
    return {key: value for key, value in best.items() if key.startswith("val/")}


def _liked(row: Mapping[str, float], chosen: Interpolation, keep: KeepSelected) -> float:
    if chosen.alpha is not None:
        return float(row["alpha"] == chosen.alpha)
    validated = {key: value for key, value in row.items() if not key.startswith("test/")}
    return keep.rule({"epoch": keep.epoch, **validated})


def looked_back(
    module: TransferModule,
    data: TransferData,
    trainer: Trainer,
    classes: Sequence[str],
    diagnostics: Settings,
    watch: Watch,
    exam: Exam | None,
    membership: Membership | None,
    folder: Path,
) -> dict[str, Any]:
    """What diagnostics say of the selected weights: what is forgotten or given away of the source, and pictures."""
    said: dict[str, Any] = {}
    if exam is None and membership is None and not diagnostics.samples:
        return said
    started = time.perf_counter()
    load_weights(module, folder / results.SELECTED)
    module.to(trainer.strategy.root_device)  # from where Lightning has moved it
    if exam is not None:
        said["forgetting"] = forgetting(exam, module.backbone, watch.plan.exam)
    if membership is not None:
        said["privacy"] = membership.said(module.backbone)
    if diagnostics.samples:
        picture = folder / saliency.FILE
        files.write_bytes(picture, saliency.picture(diagnostics.samples, module, data, classes))
        said["saliency"] = saliency.FILE
        if isinstance(trainer.logger, WandbLogger):
            trainer.logger.log_image("saliency", [str(picture)])
    watch.seconds += time.perf_counter() - started
    return said
