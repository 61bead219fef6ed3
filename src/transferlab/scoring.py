"""What is measured when the training is over: the test split, and what diagnostics look back at."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.loggers import WandbLogger

from transferlab import results
from transferlab.data.module import TransferData
from transferlab.diagnostics import saliency
from transferlab.diagnostics.forgetting import Exam, forgetting
from transferlab.diagnostics.settings import Settings
from transferlab.diagnostics.watch import Watch
from transferlab.errors import DivergedError
from transferlab.history import History, KeepSelected, load_weights
from transferlab.module import TransferModule
from transferlab.selection.rules import name


def scores(
    module: TransferModule, data: TransferData, trainer: Trainer, history: History, keep: KeepSelected
) -> dict[str, Any]:
    """The last and the selected epoch: what validation said of them, and now, for the first time, the test split."""

    def scored(row: Mapping[str, Any]) -> dict[str, Any]:
        trainer.test(module, datamodule=data, verbose=False)
        if not trainer.callback_metrics["test/loss"].isfinite():
            raise DivergedError(f"the loss of epoch {row['epoch']} on unseen samples is NaN or infinite")
        tested = {key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith("test/")}
        validated = {key: value for key, value in row.items() if key.startswith("val/")}
        return {"epoch": row["epoch"], **validated, **tested}

    last = scored(history.rows[-1])
    if keep.epoch == last["epoch"]:
        selected = last
    else:
        load_weights(module, keep.path)
        selected = scored(history.rows[keep.epoch])
    return {"selected": {"rule": name(keep.rule), **selected}, "last": last}


def looked_back(
    module: TransferModule,
    data: TransferData,
    trainer: Trainer,
    classes: Sequence[str],
    diagnostics: Settings,
    watch: Watch,
    exam: Exam | None,
    keep: KeepSelected,
) -> dict[str, Any]:
    """What diagnostics say of the selected weights: what is forgotten of the source, and where the net looks."""
    said: dict[str, Any] = {}
    if exam is None and not diagnostics.samples:
        return said
    started = time.perf_counter()
    load_weights(module, keep.path)
    module.to(trainer.strategy.root_device)  # from where Lightning has moved it
    if exam is not None:
        said["forgetting"] = forgetting(exam, module.backbone, watch.plan.exam)
    if diagnostics.samples:
        picture = keep.path.parent / saliency.FILE
        results.write_bytes(picture, saliency.picture(diagnostics.samples, module, data, classes))
        said["saliency"] = saliency.FILE
        if isinstance(trainer.logger, WandbLogger):
            trainer.logger.log_image("saliency", [str(picture)])
    watch.seconds += time.perf_counter() - started
    return said
