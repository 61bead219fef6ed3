"""One run, from a config to a record: build, fit, test, record."""

import errno
import logging
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import WandbLogger

from transferlab import building, pretraining, results
from transferlab.backbones import weights as backbone_weights
from transferlab.backbones.base import Backbone
from transferlab.data.module import TransferData
from transferlab.data.target import describe
from transferlab.diagnostics import saliency
from transferlab.diagnostics.forgetting import Exam, forgetting
from transferlab.diagnostics.settings import Settings
from transferlab.diagnostics.watch import Watch
from transferlab.environment import environment, peak_memory, quiet
from transferlab.errors import DivergedError, InputError, plain
from transferlab.flops import Flops
from transferlab.history import History, KeepSelected, load_weights, save_weights
from transferlab.module import TransferModule, start_random_state
from transferlab.oracle import Oracle
from transferlab.record import begin, summary, title
from transferlab.results import Record
from transferlab.selection.rules import Rule, name
from transferlab.strategy import Strategy
from transferlab.tracking import RunCard, Tracker
from transferlab.trust import check_located_targets

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
    check_located_targets(config)
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
        _train(config, folder, tracker, record)
        status, reason = "finished", ""
    except DivergedError as error:
        status, reason = "diverged", str(error)
        (folder / RESUME).unlink(missing_ok=True)
        raise
    except Exception as error:
        status, reason = "failed", f"{type(error).__name__}: {plain(error)}"
        raise
    finally:
        record.update(status=status, reason=reason, tracker=dict(tracker.describe()))
        record["cost"]["seconds"] = round(record["cost"]["seconds"] + time.perf_counter() - started, 3)
        record["cost"]["peak_memory_bytes"] = peak_memory()
        try:
            results.write(folder, record)
        finally:
            tracker.finish(summary(record), status)
    return record


def _train(config: DictConfig, folder: Path, tracker: Tracker, record: Record) -> None:
    start_random_state(config.seed, "build")
    strategy: Strategy = building.build(config.strategy)
    parts, source_data = building.data(config, strategy.reads)
    backbone: Backbone = building.build(config.backbone)
    history = History()
    rule: Rule = building.build(config.selection)
    keep = KeepSelected(rule, history, folder / SELECTED)
    from_source = strategy.start == "source" and (config.source.weights or config.source.pretrain) is not None
    diagnostics = building.diagnostics(config)
    watch = diagnostics.watch(history, from_source, config.source.pretrain is not None)
    oracle, flops = Oracle(rule, len(parts.classes)), Flops()
    # behind the history, so that their time is none of the fit's
    callbacks = [history, watch, keep, flops, *([oracle] if config.get("oracle") else [])]
    trainer = building.trainer(config, folder / RESUME, callbacks)
    # built now as well as below, so that whatever is wrong with it is found before a source trains for hours
    module = building.module(config, backbone, strategy, parts, source_data, from_source)
    keep.check(module.measured if parts.val is not None else ())
    data = building.batches(config, parts, source_data, strategy)
    diagnostics.check(module, data)

    before = time.perf_counter()
    source, exam = _source_weights(config) if from_source else None, None
    if source is not None:
        backbone_weights.load(backbone, source)
        if watch.examines:
            exam = building.exam(pretraining.config_of(config), Path(source), backbone, data)
    # pretraining has a record of its own, and the exam is set once for all runs of a source
    record["cost"]["seconds"] = before - time.perf_counter()
    if source is not None:
        module = building.module(config, backbone, strategy, parts, source_data, from_source)
    record["data"] = {**describe(parts), "source_weights": source}
    trainer.logger = tracker.start(_card(config, folder))
    try:
        _fit(trainer, module, data, folder / RESUME, title(config))
    finally:
        record["history"] = history.rows
        record["cost"].update(_cost(module, history), flops=flops.total)
        record["cost"]["diagnostics_seconds"] = round(watch.seconds, 3)
        # looking on costs a strategy nothing
        record["cost"]["seconds"] += history.earlier + watch.earlier - oracle.seconds
    save_weights(module, folder / LAST)
    record["metrics"] = {**_scores(module, data, trainer, history, keep, folder), "oracle": oracle.scores(history.rows)}
    record.update(_looked_back(module, data, trainer, parts.classes, diagnostics, watch, exam, folder))
    record["cost"]["diagnostics_seconds"] = round(watch.seconds, 3)
    (folder / RESUME).unlink(missing_ok=True)


def _fit(trainer: Trainer, module: TransferModule, data: TransferData, resume: Path, what: str) -> None:
    """Fit from the last checkpoint if there is one.

    Raises:
        DivergedError: the last step made the weights NaN or infinite; earlier ones show in the loss.
    """
    if resume.exists() and not _is_whole(resume):
        _log.warning("%s is damaged: %s starts again from its first epoch", resume, what)
        resume.unlink()
    if resume.exists():
        _log.info("resuming %s where it was interrupted", what)
    try:
        with _disk(resume.parent):
            trainer.fit(module, datamodule=data, ckpt_path=resume if resume.exists() else None)
    except SystemExit as stop:  # what Lightning makes of Ctrl-C and of SIGTERM
        raise KeyboardInterrupt from stop
    if not all(tensor.isfinite().all() for tensor in module.state_dict().values()):
        raise DivergedError("the weights became NaN or infinite in the last epoch")


def _is_whole(checkpoint: Path) -> bool:
    """Whether a file of torch's, which is a zip archive with checksums, was written to its end."""
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            return archive.testzip() is None
    except zipfile.BadZipFile:
        return False


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    """A disk that is full or read-only in the middle of a run ends it with the same sentence as at its start."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG):
            raise
        with results.writable(folder):
            raise


def _source_weights(config: DictConfig) -> str:
    """Where the source's weights lie; they are pretrained now if they are nowhere.

    Raises:
        InputError: two origins are given, the pretraining diverged, or it would see the target's test samples.
    """
    if config.source.weights is not None and config.source.pretrain is not None:
        raise InputError("source.weights and source.pretrain are both given: set one of them to null")
    if config.source.pretrain is None:
        return str(config.source.weights)
    recipe = pretraining.config_of(config)
    if _set(recipe) == _set(config) and recipe.target.test != config.target.test:
        raise InputError(
            f"source and target are one set: source.pretrain.target.test={recipe.target.test} must be target.test="
            f"{config.target.test}, or the source would see test samples"
        )
    folder = results.folder(recipe)
    if not results.is_finished(folder):
        _log.info("pretraining %s on %s (%s)", recipe.axes.backbone, recipe.axes.target, folder)
    try:
        diverged = run(recipe)["status"] == "diverged"
    except DivergedError:
        diverged = True
    if diverged:
        raise InputError(f"the source's pretraining diverged ({folder}): change source.pretrain")
    return str(folder / SELECTED)


def _set(config: DictConfig) -> tuple[Any, ...]:
    """What tells a data set from others, however it is preprocessed."""
    return tuple(config.target.data.get(key) for key in ("_target_", "name", "root", "path"))


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
        if not trainer.callback_metrics["test/loss"].isfinite():
            raise DivergedError(f"the loss of epoch {row['epoch']} on unseen samples is NaN or infinite")
        tested = {key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith("test/")}
        validated = {key: value for key, value in row.items() if key.startswith("val/")}
        return {"epoch": row["epoch"], **validated, **tested}

    last = scored(history.rows[-1])
    if keep.epoch == last["epoch"]:
        selected = last
    else:
        load_weights(module, folder / SELECTED)
        selected = scored(history.rows[keep.epoch])
    return {"selected": {"rule": name(keep.rule), **selected}, "last": last}


def _looked_back(
    module: TransferModule,
    data: TransferData,
    trainer: Trainer,
    classes: Sequence[str],
    diagnostics: Settings,
    watch: Watch,
    exam: Exam | None,
    folder: Path,
) -> dict[str, Any]:
    """What diagnostics say of the selected weights: what is forgotten of the source, and where the net looks."""
    said: dict[str, Any] = {}
    if exam is None and not diagnostics.samples:
        return said
    started = time.perf_counter()
    load_weights(module, folder / SELECTED)
    module.to(trainer.strategy.root_device)  # from where Lightning has moved it
    if exam is not None:
        said["forgetting"] = forgetting(exam, module.backbone, watch.plan.exam)
    if diagnostics.samples:
        results.write_bytes(folder / saliency.FILE, saliency.picture(diagnostics.samples, module, data, classes))
        said["saliency"] = saliency.FILE
        if isinstance(trainer.logger, WandbLogger):
            trainer.logger.log_image("saliency", [str(folder / saliency.FILE)])
    watch.seconds += time.perf_counter() - started
    return said


def _cost(module: TransferModule, history: History) -> dict[str, Any]:
    return {
        "fit_seconds": round(history.seconds, 3),
        "samples": history.samples,
        "trainable_parameters": sum(p.numel() for name, p in module.named_parameters() if name in history.trained),
        "total_parameters": sum(p.numel() for p in module.parameters()),
    }
