"""From config nodes to the data of a run: the target, cut, the source beside it, and their batches."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from omegaconf import DictConfig, OmegaConf

from transferlab import pretraining
from transferlab.data import vault
from transferlab.data.augmentation.base import NONE, Augmentation
from transferlab.data.module import TransferData
from transferlab.data.parts import Fitted, Parts, fitted_on
from transferlab.data.samples import Samples, Splits
from transferlab.data.target import Target, has_classes, train_and_test
from transferlab.errors import InputError
from transferlab.inputs.base import Input
from transferlab.nodes import build
from transferlab.strategy import Strategy
from transferlab.tasks.base import Task
from transferlab.tasks.binary import Binary
from transferlab.tasks.classification import Classification

_PREPROCESSING = ("border", "range", "in_memory", "cache", "encoding", "channels", "missing", "scale", "download")
"""Keys of a data set's node that say how its samples are read, and not which."""


def data(config: DictConfig, strategy: Strategy, reconstructs: bool = False) -> tuple[Parts, Splits | None]:
    """The target, cut, and the source's data where some loss reads them.

    Args:
        config: of the run.
        strategy: says which domains are read.
        reconstructs: whether labels are the inputs, so that classes are of no matter.

    Raises:
        InputError: what is wrong with them, or the source would show labels that are hidden in the target.
    """
    reads, unused = strategy.reads | strategy.studies, strategy.target_labels == "unused"
    if not strategy.reads - {"target"} and (unused or config.target.labels == "none"):
        raise InputError(
            f"target.labels={config.target.labels}, and strategy={config.axes.strategy} learns from labels of the "
            "target alone: choose one of domain adaptation, e.g. strategy=source_only or dann, or target.labels=10"
        )
    target: Target = build(config.target)
    # a strategy that reads none of them takes as many steps as one that does
    parts = cut(config, target, "unlabeled" in reads or unused, unused)
    if "source" not in reads or config.source.data is None:
        return parts, None
    source = beside(config, target)
    if strategy.shares_classes and not reconstructs and has_classes(source.train.y, source.classes):
        parts, source = sharing(parts, source, target.label_space)
    return parts, encoded_alike(source, parts)


def cut(config: DictConfig, target: Target, unlabeled: bool = False, unused: bool = False) -> Parts:
    """The target, cut.

    Args:
        config: of the run.
        target: as it says.
        unlabeled: whether inputs whose labels are not seen are wanted too.
        unused: whether no label is trained on, though some are seen.

    Raises:
        InputError: what is wrong with it, or the source would show labels that are hidden in it.
    """
    parts = target.parts(config.seed, unlabeled)
    if parts.hides:
        _check_other_set(config)
    if unused:
        parts = parts.without_labels()
    if target.fitted_on == "source":
        if not isinstance(parts.train, Fitted):
            raise InputError("target.fitted_on=source: of these data nothing is fitted, only of tables")
        parts = parts.fitted_on(_source_training(config))
    return parts


def beside(config: DictConfig, target: Target) -> Splits:
    """The data of a source that has some, cut like the target.

    Raises:
        InputError: it holds out samples that its own weights were trained on.
    """
    whole: Splits = build(config.source.data)
    source = cut_alike(whole, target)
    if source.test is not None and whole.test is None:
        _check_held_out(config, target)
    return source


def encoded_alike(source: Splits, parts: Parts) -> Splits:
    """A source whose encoding, where it is learned, is the target's."""
    held = None if source.test is None else fitted_on(source.test, parts.inputs)
    return replace(source, train=fitted_on(source.train, parts.inputs), test=held)


def _check_other_set(config: DictConfig) -> None:
    """See that the source is not the set whose labels the target hides, however each is preprocessed.

    Raises:
        InputError: it is.
    """
    nodes = [config.source.get("data"), (config.source.get("pretrain") or {}).get("target", {}).get("data")]
    hidden = _samples_of(config.target.data)
    if any(node is not None and _samples_of(node) == hidden for node in nodes):
        raise InputError(
            f"source and target are one set, {config.axes.target}, so that the source shows the labels which the "
            "target hides: choose another source, or target.labels=all"
        )


def _samples_of(node: DictConfig) -> dict[str, Any]:
    """What of a data set's node says which samples it has."""
    plain = OmegaConf.to_container(node, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items() if key not in _PREPROCESSING}


def _check_held_out(config: DictConfig, target: Target) -> None:
    """See that what is held out of a source for selection rules was held out of its own training too.

    Raises:
        InputError: it was not.
    """
    recipe, share = config.source.get("pretrain"), target.source_test if target.test == "all" else target.test
    if recipe is not None and isinstance(recipe.target.test, float) and float(share) > recipe.target.test:
        key = "target.source_test" if target.test == "all" else "target.test"
        raise InputError(
            f"{key}={share} holds out more of the source than its own training leaves, source.pretrain.target.test="
            f"{recipe.target.test}: selection rules would score samples that the weights were trained on; set both "
            "alike"
        )


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


def batches(
    config: DictConfig, parts: Parts, source: Splits | None, strategy: Strategy, task: Task, input: Input
) -> TransferData:
    """The batches of `input`, which the backbone takes."""
    return TransferData(
        parts,
        source,
        strategy.reads,
        input,
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
