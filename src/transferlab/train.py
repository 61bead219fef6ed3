"""One run, from a config to a record: build, fit, test, record."""

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from pytorch_lightning import Trainer

from transferlab import building, pretraining, results
from transferlab.backbones import weights as backbone_weights
from transferlab.backbones.base import Backbone
from transferlab.composing import check_targets
from transferlab.data.module import TransferData
from transferlab.data.target import describe
from transferlab.environment import environment, peak_memory, quiet
from transferlab.errors import DivergedError, InputError
from transferlab.history import History, KeepSelected, load_weights, save_weights
from transferlab.module import TransferModule, start_random_state
from transferlab.record import begin, summary, title
from transferlab.results import Record
from transferlab.selection.rules import Rule, name
from transferlab.strategy import Strategy
from transferlab.tracking import RunCard, Tracker

_log = logging.getLogger(__name__)

RESUME = "resume.ckpt"
SELECTED = "selected.pt"
LAST = "last.pt"


def run(config: DictConfig) -> Record:
    """Do one run, or find it done: what is finished or diverged is returned, what was interrupted goes on.

    Raises:
        InputError: something the user can mend; the record then says `failed` and why.
        DivergedError: the loss became NaN or infinite; the record says `diverged`.
    """
    check_targets(config)
    quiet()
    folder = results.folder(config)
    with results.held(folder, f"waiting for another process that does {title(config)} ({folder})"):
        record = results.read(folder)
        if record is not None and record["status"] in ("finished", "diverged"):
            return record
        return _recorded(config, folder)


def _recorded(config: DictConfig, folder: Path) -> Record:
    """Train, and leave a record however it ends; until it ends the record says `interrupted`."""
    started = time.perf_counter()
    tracker: Tracker = building.build(config.tracker)
    record = begin(config, folder, environment(config.trainer.accelerator))
    results.write_config(folder, config)
    results.write(folder, record)
    status, reason = "interrupted", "stopped from outside"
    try:
        source = _source_weights(config)
        started = time.perf_counter()  # pretraining has a record of its own
        _train(config, folder, source, tracker, record)
        status, reason = "finished", ""
    except DivergedError as error:
        status, reason = "diverged", str(error)
        (folder / RESUME).unlink(missing_ok=True)
        raise
    except Exception as error:
        status, reason = "failed", f"{type(error).__name__}: {error}"
        raise
    finally:
        record.update(status=status, reason=reason, tracker=dict(tracker.describe()))
        record["cost"]["seconds"] = round(time.perf_counter() - started, 3)
        record["cost"]["peak_memory_bytes"] = peak_memory()
        try:
            results.write(folder, record)
        finally:
            tracker.finish(summary(record), status)
    return record


def _train(config: DictConfig, folder: Path, source: str | None, tracker: Tracker, record: Record) -> None:
    start_random_state(config.seed, "build")
    strategy: Strategy = building.build(config.strategy)
    parts, source_data = building.data(config, strategy.reads)
    backbone: Backbone = building.build(config.backbone)
    from_source = source is not None and strategy.start == "source"
    if from_source and source is not None:
        backbone_weights.load(backbone, source)
    module = building.module(config, backbone, strategy, parts, source_data, from_source)
    data = building.batches(config, parts, source_data, strategy)
    record["data"] = {**describe(parts), "source_weights": source if from_source else None}

    history = History()
    rule: Rule = building.build(config.selection)
    keep = KeepSelected(rule, history, folder / SELECTED)
    logger = tracker.start(_card(config, folder))
    trainer = building.trainer(config, folder / RESUME, logger, [history, keep])
    resume = folder / RESUME if (folder / RESUME).exists() else None
    if resume:
        _log.info("resuming %s where it was interrupted", title(config))
    try:
        trainer.fit(module, datamodule=data, ckpt_path=resume)
    except SystemExit as stop:  # what Lightning makes of Ctrl-C and of SIGTERM
        raise KeyboardInterrupt from stop
    save_weights(module, folder / LAST)
    record["history"] = history.rows
    record["metrics"] = _scores(module, data, trainer, history, keep, folder)
    record["cost"].update(_cost(module, history))
    (folder / RESUME).unlink(missing_ok=True)


def _source_weights(config: DictConfig) -> str | None:
    """Where the source's weights lie; they are pretrained now if they are nowhere."""
    if config.source.weights is not None and config.source.pretrain is not None:
        raise InputError("source.weights and source.pretrain are both given: set one of them to null")
    if config.source.pretrain is None or config.strategy.start == "random":
        return None if config.source.weights is None else str(config.source.weights)
    recipe = pretraining.config_of(config)
    if recipe.target.data == config.target.data and recipe.target.test != config.target.test:
        raise InputError(
            f"source and target are one set: source.pretrain.target.test={recipe.target.test} must be target.test="
            f"{config.target.test}, or the source would see test samples"
        )
    folder = results.folder(recipe)
    if not results.is_finished(folder):
        _log.info("pretraining %s on %s (%s)", recipe.axes.backbone, recipe.axes.target, folder)
    if run(recipe)["status"] != "finished":
        raise InputError(f"the source's pretraining diverged ({folder}): change source.pretrain")
    return str(folder / SELECTED)


def _card(config: DictConfig, folder: Path) -> RunCard:
    axes = config.axes
    return RunCard(
        run_id=folder.name,
        study=str(config.study),
        strategy=str(axes.strategy),
        name=title(config),
        tags=(str(axes.source), str(axes.target), str(axes.backbone)),
        config=results.portable(config),
        folder=folder,
    )


def _scores(
    module: TransferModule, data: TransferData, trainer: Trainer, history: History, keep: KeepSelected, folder: Path
) -> dict[str, Any]:
    """The last and the selected epoch: what validation said of them, and now, for the first time, the test split."""

    def scored(row: Mapping[str, Any]) -> dict[str, Any]:
        trainer.test(module, datamodule=data, verbose=False)
        tested = {key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith("test/")}
        validated = {key: value for key, value in row.items() if key.startswith("val/")}
        return {"epoch": row["epoch"], **validated, **tested}

    last = scored(history.rows[-1])
    if keep.epoch == last["epoch"]:
        selected = last
    else:
        load_weights(module, folder / SELECTED)
        selected = scored(history.rows[keep.epoch])
    return {"selected": {"rule": name(keep.rule), **selected}, "last": last, "oracle": None}


def _cost(module: TransferModule, history: History) -> dict[str, Any]:
    return {
        "fit_seconds": round(history.seconds, 3),
        "samples": history.samples,
        "trainable_parameters": sum(p.numel() for name, p in module.named_parameters() if name in history.trained),
        "total_parameters": sum(p.numel() for p in module.parameters()),
    }
