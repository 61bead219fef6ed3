"""From config nodes to the objects of a run. With `train.py` and `jobs.py` the only room that sees a config."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint

from transferlab import results
from transferlab.backbones.base import Backbone
from transferlab.backbones.weights import read_tensors
from transferlab.data.module import TransferData
from transferlab.data.samples import Samples, Splits
from transferlab.data.target import Parts, Target, train_and_test
from transferlab.diagnostics import settings
from transferlab.diagnostics.forgetting import Exam, set_exam
from transferlab.diagnostics.probe import undisturbed
from transferlab.errors import InputError
from transferlab.losses.base import Setting
from transferlab.module import TransferModule, start_random_state
from transferlab.strategy import Strategy
from transferlab.tasks.classification import Task


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


def data(config: DictConfig, reads: frozenset[str]) -> tuple[Parts, Splits | None]:
    """The target, cut, and the source's data where some loss reads them."""
    target: Target = build(config.target)
    parts = target.parts(config.seed)
    if "source" not in reads or config.source.data is None:
        return parts, None
    source: Splits = build(config.source.data)
    # cut like the target: where both are one set, no test sample is trained on
    return parts, Splits(*train_and_test(source, target.test), source.classes)


def module(
    config: DictConfig, backbone: Backbone, strategy: Strategy, parts: Parts, source: Splits | None, from_source: bool
) -> TransferModule:
    """The net with a new head, its losses prepared. Head and losses draw from random states of their own."""
    task: Task = build(config.task)
    start_random_state(config.seed, "head")
    head = task.build_head(backbone.features, len(parts.classes))
    classes = {"target": len(parts.classes)} | ({"source": len(source.classes)} if source else {})
    for key, loss in strategy.losses.items():
        start_random_state(config.seed, "loss", key)
        loss.prepare(Setting(backbone, head, task, classes, from_source))
    optimizer, schedule = build(config.optimizer), build(config.scheduler)
    return TransferModule(backbone, head, task, strategy, optimizer, schedule, len(parts.classes), config.seed)


def batches(config: DictConfig, parts: Parts, source: Splits | None, strategy: Strategy) -> TransferData:
    """The batches that the backbone takes."""
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


def diagnostics(config: DictConfig) -> settings.Settings:
    """What watches a run; a source's own run has nothing of it, so that its id does not depend on it."""
    chosen: settings.Settings = build(config.diagnostics) if "diagnostics" in config else settings.OFF
    return chosen


def exam(recipe: DictConfig, weights: Path, backbone: Backbone, data: TransferData) -> Exam:
    """Test samples of a source and its own head, as the pretraining `recipe` had them.

    Args:
        recipe: the config of the source's own run.
        weights: what that run selected.
        backbone: holds them already.
        data: normalises, for every run on this backbone alike.
    """

    def read() -> Samples:
        target: Target = build(recipe.target)
        return train_and_test(target.data, target.test)[1]

    state = {key: value for key, value in read_tensors(weights).items() if key.startswith("head.")}
    classes = (results.read(weights.parent) or {})["data"]["classes"]
    task: Task = build(recipe.task)
    with undisturbed(backbone):  # a new head draws random numbers
        head = task.build_head(backbone.features, len(classes))
    head.load_state_dict({key.removeprefix("head."): value for key, value in state.items()})
    return set_exam(weights, read, tuple(recipe.backbone.input.shape), backbone, head, data)


def trainer(config: DictConfig, checkpoint: Path, callbacks: Sequence[Callback]) -> Trainer:
    """Lightning's Trainer, which after each epoch overwrites one checkpoint to resume from.

    Raises:
        InputError: no epochs, or settings that Lightning refuses.
    """
    if not config.trainer.max_epochs or config.trainer.max_epochs < 1:
        raise InputError(f"trainer.max_epochs={config.trainer.max_epochs}: at least 1")
    resumable = ModelCheckpoint(
        dirpath=checkpoint.parent,
        filename=checkpoint.stem,
        enable_version_counter=False,
        save_on_train_epoch_end=True,
    )
    built: Trainer = build(
        config.trainer,
        callbacks=[*callbacks, resumable],
        logger=False,
        default_root_dir=str(checkpoint.parent),
        enable_progress_bar=sys.stderr.isatty(),
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )
    return built
