"""One run, from a config to a record: compose, build, fit, test, record."""

import logging
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ModelCheckpoint

from transferlab import pretraining, results
from transferlab.backbones import weights as backbone_weights
from transferlab.backbones.base import Backbone
from transferlab.composing import check_targets
from transferlab.data.module import TransferData
from transferlab.data.samples import Splits
from transferlab.data.target import Parts, Target, describe, train_and_test
from transferlab.environment import environment, peak_memory, quiet
from transferlab.errors import DivergedError, InputError
from transferlab.history import History, KeepSelected, load_weights, save_weights
from transferlab.losses.base import Setting
from transferlab.module import TransferModule, start_random_state
from transferlab.results import Record
from transferlab.selection.rules import Rule, name
from transferlab.strategy import Strategy
from transferlab.tasks.classification import Task
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


def title(config: DictConfig) -> str:
    """A run in a few words."""
    axes = config.axes
    return f"{axes.strategy} {axes.source}->{axes.target} {axes.backbone} seed={config.seed}"


def _recorded(config: DictConfig, folder: Path) -> Record:
    """Train, and leave a record however it ends; until it ends the record says `interrupted`."""
    started = time.perf_counter()
    tracker: Tracker = build(config.tracker)
    record = _begin(config, folder)
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
        raise
    except Exception as error:
        status, reason = "failed", f"{type(error).__name__}: {error}"
        raise
    finally:
        record.update(status=status, reason=reason, tracker=dict(tracker.describe()))
        record["cost"]["seconds"] = round(time.perf_counter() - started, 3)
        record["cost"]["peak_memory_bytes"] = peak_memory()
        results.write(folder, record)
        tracker.finish(_summary(record), status)
    return record


def _train(config: DictConfig, folder: Path, source: str | None, tracker: Tracker, record: Record) -> None:
    start_random_state(config.seed, "build")
    strategy: Strategy = build(config.strategy)
    parts, source_data = _data(config, strategy.reads)
    backbone: Backbone = build(config.backbone)
    from_source = source is not None and strategy.start == "source"
    if from_source and source is not None:
        backbone_weights.load(backbone, source)
    module = _module(config, backbone, strategy, parts, source_data, from_source)
    data = _batches(config, parts, source_data, strategy)
    record["data"] = {**describe(parts), "source_weights": source if from_source else None}

    history = History()
    rule: Rule = build(config.selection)
    keep = KeepSelected(rule, history, folder / SELECTED)
    trainer = _trainer(config, folder, tracker, [history, keep])
    resume = folder / RESUME if (folder / RESUME).exists() else None
    if resume:
        _log.info("resuming %s where it was interrupted", title(config))
    trainer.fit(module, datamodule=data, ckpt_path=resume)
    save_weights(module, folder / LAST)
    record["history"] = history.rows
    record["metrics"] = _scores(module, data, trainer, history, keep, folder)
    record["cost"].update(_cost(module, history))
    (folder / RESUME).unlink(missing_ok=True)


def build(node: DictConfig, **extra: Any) -> Any:
    """Build what a config node names; its errors become a sentence with the node's key.

    Raises:
        InputError: from within, or because the node's values do not fit its target.
    """
    try:
        return instantiate(node, _convert_="all", **extra)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, InputError):
            raise cause from None
        what = f"{type(cause).__name__}: {cause}" if cause is not None else str(error).splitlines()[0]
        raise InputError(f"{node._get_full_key(None)}: {' '.join(what.split())}") from error


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


def _data(config: DictConfig, reads: frozenset[str]) -> tuple[Parts, Splits | None]:
    target: Target = build(config.target)
    parts = target.parts(config.seed)
    if "source" not in reads or config.source.data is None:
        return parts, None
    source: Splits = build(config.source.data)
    # cut like the target: where both are one set, no test sample is trained on
    return parts, Splits(*train_and_test(source, target.test), source.classes)


def _module(
    config: DictConfig, backbone: Backbone, strategy: Strategy, parts: Parts, source: Splits | None, from_source: bool
) -> TransferModule:
    task: Task = build(config.task)
    start_random_state(config.seed, "head")
    head = task.build_head(backbone.features, len(parts.classes))
    classes = {"target": len(parts.classes)} | ({"source": len(source.classes)} if source else {})
    for key, loss in strategy.losses.items():
        start_random_state(config.seed, "loss", key)
        loss.prepare(Setting(backbone, head, task, classes, from_source))
    optimizer, schedule = build(config.optimizer), build(config.scheduler)
    return TransferModule(backbone, head, task, strategy, optimizer, schedule, len(parts.classes), config.seed)


def _batches(config: DictConfig, parts: Parts, source: Splits | None, strategy: Strategy) -> TransferData:
    spec = OmegaConf.to_container(config.backbone.input, resolve=True)
    assert isinstance(spec, dict)
    return TransferData(
        parts,
        source,
        strategy.reads,
        **{str(key): value for key, value in spec.items()},
        batch_size=config.batch_size,
        workers=config.workers,
        seed=config.seed,
    )


def _trainer(config: DictConfig, folder: Path, tracker: Tracker, callbacks: list[Any]) -> Trainer:
    logger = tracker.start(
        RunCard(
            run_id=folder.name,
            study=str(config.study),
            strategy=str(config.axes.strategy),
            name=title(config),
            tags=(str(config.axes.source), str(config.axes.target), str(config.axes.backbone)),
            config=results.portable(config),
            folder=folder,
        )
    )
    checkpoint = ModelCheckpoint(
        dirpath=folder,
        filename=RESUME.removesuffix(".ckpt"),
        enable_version_counter=False,
        save_on_train_epoch_end=True,
    )
    trainer: Trainer = build(
        config.trainer,
        callbacks=[*callbacks, checkpoint],
        logger=logger if logger is not None else False,
        default_root_dir=str(folder),
        enable_progress_bar=sys.stderr.isatty(),
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )
    return trainer


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


def _begin(config: DictConfig, folder: Path) -> Record:
    from hydra.core.hydra_config import HydraConfig

    ours = HydraConfig.initialized() and config.study != pretraining.STUDY
    overrides = list(HydraConfig.get().overrides.task) if ours else []
    return {
        "schema": results.SCHEMA,
        "run_id": folder.name,
        "study": str(config.study),
        "status": "interrupted",
        "reason": "still running, or killed",
        "axes": {**OmegaConf.to_container(config.axes, resolve=True), "seed": config.seed},  # type: ignore[dict-item]
        "config": results.portable(config),
        "overrides": overrides,
        "metrics": {"selected": None, "last": None, "oracle": None},
        "history": [],
        "cost": {
            "seconds": None,
            "fit_seconds": None,
            "samples": None,
            "trainable_parameters": None,
            "total_parameters": None,
            "flops": None,
            "peak_memory_bytes": None,
            "cache_hits": 0,
        },
        "data": {},
        "environment": environment(config.trainer.accelerator),
        "tracker": {},
    }


def _cost(module: TransferModule, history: History) -> dict[str, Any]:
    return {
        "fit_seconds": round(history.seconds, 3),
        "samples": history.samples,
        "trainable_parameters": sum(p.numel() for name, p in module.named_parameters() if name in history.trained),
        "total_parameters": sum(p.numel() for p in module.parameters()),
    }


def _summary(record: Record) -> dict[str, Any]:
    """What the tracker's table shows: the selected and the last epoch, and the cost."""
    scores = {
        f"{which}/{key}": value
        for which in ("selected", "last")
        for key, value in (record["metrics"][which] or {}).items()
    }
    return {**scores, **{f"cost/{key}": value for key, value in record["cost"].items() if value is not None}}
