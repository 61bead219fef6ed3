"""From config nodes to the data of a run: the target, cut, the source beside it, and their batches."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from omegaconf import DictConfig

from transferlab import pretraining
from transferlab.building import build, inputs
from transferlab.data import vault
from transferlab.data.augmentation.base import NONE, Augmentation
from transferlab.data.module import TransferData
from transferlab.data.samples import Samples, Splits
from transferlab.data.target import Fitted, Parts, Target, fitted_on, has_classes, train_and_test
from transferlab.errors import InputError
from transferlab.strategy import Strategy
from transferlab.tasks.base import Task
from transferlab.tasks.binary import Binary
from transferlab.tasks.classification import Classification


def data(config: DictConfig, strategy: Strategy) -> tuple[Parts, Splits | None]:
    """The target, cut, and the source's data where some loss reads them.

    Raises:
        InputError: what is wrong with them, or the source would show labels that are hidden in the target.
    """
    reads = strategy.reads | strategy.studies
    if not reads - {"target"} and (config.target.labels == "none" or strategy.target_labels == "unused"):
        raise InputError(
            f"target.labels={config.target.labels}, and strategy={config.axes.strategy} learns from labels of the "
            "target alone: choose one of domain adaptation, e.g. strategy=source_only or dann, or target.labels=10"
        )
    target: Target = build(config.target)
    parts = target.parts(config.seed, "unlabeled" in reads)
    if strategy.target_labels == "unused":
        parts = parts.without_labels()
    if target.fitted_on == "source":
        if not isinstance(parts.train, Fitted):
            raise InputError("target.fitted_on=source: of these data nothing is fitted, only of tables")
        parts = parts.fitted_on(_source_training(config))
    if "source" not in reads or config.source.data is None:
        return parts, None
    source = cut_alike(build(config.source.data), target)
    if strategy.shares_classes and has_classes(source.train.y, source.classes):
        parts, source = sharing(parts, source, target.label_space)
    return parts, replace(source, train=fitted_on(source.train, parts.inputs))


def sharing(parts: Parts, source: Splits, space: str) -> tuple[Parts, Splits]:
    """Target and source with the classes of the one head that they share.

    Raises:
        InputError: their classes do not match.
    """
    mine, theirs = parts.classes, source.classes
    head = vault.classes(theirs, mine, space)

    def of_source(samples: Samples | None) -> Samples | None:
        return None if samples is None else vault.numbered(vault.known(samples, theirs, head), theirs, head)

    train, test = of_source(source.train), of_source(source.test)
    assert train is not None
    own = replace(
        parts,
        train=vault.numbered(parts.train, mine, head),
        val=None if parts.val is None else vault.numbered(parts.val, mine, head),
        test=vault.numbered(parts.test, mine, head),
        classes=head,
    )
    return own, Splits(train, test, head)


def cut_alike(source: Splits, target: Target) -> Splits:
    """A source cut like the target: where both are one set, no test sample is trained on."""
    share = target.source_test if target.test == "all" else float(target.test)
    if target.test == "all" and (source.test is not None or not share):
        return source
    train, test = train_and_test(source, share)
    return replace(source, train=train, test=test)


def key(whole: Mapping[str, Any], strategy: Strategy) -> str:
    """By what the data of a run are known, of its portable config."""
    labels = [strategy.target_labels, strategy.shares_classes]
    return json.dumps(
        [whole["target"], whole["source"], whole["seed"], sorted(strategy.reads | strategy.studies), labels]
    )


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
        strong=strategy.views,
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
