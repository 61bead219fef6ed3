"""From config nodes to the data of a run: the target, cut, the source beside it, and their batches."""

import json
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig

from transferlab import pretraining
from transferlab.building import build, inputs
from transferlab.data.augmentation.base import NONE, Augmentation
from transferlab.data.module import TransferData
from transferlab.data.samples import Samples, Splits
from transferlab.data.target import Fitted, Parts, Target, fitted_on, train_and_test
from transferlab.errors import InputError
from transferlab.strategy import Strategy
from transferlab.tasks.base import Task
from transferlab.tasks.binary import Binary
from transferlab.tasks.classification import Classification


def data(config: DictConfig, reads: frozenset[str]) -> tuple[Parts, Splits | None]:
    """The target, cut, and the source's data where some loss reads them."""
    target: Target = build(config.target)
    parts = target.parts(config.seed)
    if target.fitted_on == "source":
        if not isinstance(parts.train, Fitted):
            raise InputError("target.fitted_on=source: of these data nothing is fitted, only of tables")
        parts = parts.fitted_on(_source_training(config))
    if "source" not in reads or config.source.data is None:
        return parts, None
    source: Splits = build(config.source.data)
    # cut like the target: where both are one set, no test sample is trained on
    train, test = train_and_test(source, target.test)
    return parts, Splits(fitted_on(train, parts.train), test, source.classes)


def key(whole: Mapping[str, Any], strategy: Strategy) -> str:
    """By what the data of a run are known, of its portable config."""
    return json.dumps([whole["target"], whole["source"], whole["seed"], sorted(strategy.reads | strategy.studies)])


def _source_training(config: DictConfig) -> Samples:
    """What the source's own run trains on."""
    if config.source.pretrain is None:
        raise InputError(
            f"target.fitted_on=source, but source={config.axes.source} is not pretrained here: choose a source that is "
            "data, or target.fitted_on=target"
        )
    recipe = pretraining.config_of(config)
    target: Target = build(recipe.target)
    return target.parts(recipe.seed).train


def batches(config: DictConfig, parts: Parts, source: Splits | None, strategy: Strategy, task: Task) -> TransferData:
    """The batches that the backbone takes."""
    return TransferData(
        parts,
        source,
        strategy.reads,
        inputs(config),
        reconstructs=task.reconstructs,
        batch_size=config.batch_size,
        workers=config.workers,
        seed=config.seed,
        augmentation=augmentation(config, task),
        studies=strategy.studies,
        views=(config.cache.views or None) if "cache" in config else None,
        taught=strategy.asks,
    )


def augmentation(config: DictConfig, task: Task) -> Augmentation:
    """What becomes of training samples.

    Raises:
        InputError: it mixes labels, which the task does not understand.
    """
    chosen: Augmentation = build(config.augmentation) if "augmentation" in config else NONE
    if chosen.batch and not isinstance(task, Classification | Binary):
        raise InputError(
            f"augmentation.batch.{next(iter(chosen.batch))} mixes the labels of samples, which task=classification "
            "and task=binary alone understand: choose augmentation=none or another that leaves labels whole"
        )
    return chosen
