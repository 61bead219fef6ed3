"""From config nodes to the objects of a run, all but its data: net, module, trainer, and what is beside them."""

import copy
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from omegaconf import DictConfig, open_dict
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint

from transferlab import results
from transferlab.backbones.base import Backbone
from transferlab.cache.store import FOLDER
from transferlab.data.parts import Parts
from transferlab.data.samples import Splits
from transferlab.diagnostics import settings
from transferlab.errors import InputError
from transferlab.flops import Flops
from transferlab.inputs.arrays import ArrayInput
from transferlab.inputs.base import Input
from transferlab.losses.base import Setting
from transferlab.losses.teacher import Teacher
from transferlab.module import TransferModule, start_random_state
from transferlab.nodes import build
from transferlab.prefix.entering import PrefixCache
from transferlab.prefix.settings import OFF, Settings
from transferlab.processes.backend import Beside, listen
from transferlab.selection.settings import Rules
from transferlab.starting import carry_head, check_names, starter
from transferlab.stepping import Epoch
from transferlab.strategy import Strategy
from transferlab.tasks.base import Task
from transferlab.tasks.labels import fitted


def inputs(config: DictConfig) -> Input:
    """What the backbone takes."""
    built: Input = build(config.backbone.input)
    return built


def net(config: DictConfig, task: Task) -> Backbone:
    """The backbone, without its tail if the task wants maps or sequences."""
    backbone: Backbone = build(config.backbone)
    if task.dense:
        backbone.cut()
    return backbone


def net_key(whole: Mapping[str, Any], task: Task, from_source: bool) -> str:
    """By what a backbone, before anything of it trains, is known, as it is computed; of the run's portable config.

    One without a source is drawn from the run's seed, and so is a tower of two that has none.
    """
    drawn = not from_source or str(whole["source"].get("weights")).startswith("towers:")
    computed = [whole["trainer"].get(key) for key in ("precision", "accelerator", "devices", "channels_last")]
    source = [whole["source"] if from_source else None, whole["seed"] if drawn else None]
    return json.dumps([whole["backbone"], task.dense, source, computed], sort_keys=True)


def adapted(config: DictConfig, backbone: Backbone, strategy: Strategy) -> Backbone:
    """The backbone as it trains: itself, or a copy with the strategy's adapter in it, drawn from a state of its own.

    Raises:
        InputError: there is nothing to adapt, or a net of the adapter's own takes another input.
    """
    if strategy.adapter is None:
        return backbone
    beside = config.strategy.adapter.get("net")
    if beside is not None and beside.input != config.backbone.input:
        raise InputError(
            f"strategy.adapter.net takes another input than this run's backbone, {dict(beside.input)}, here "
            f"{dict(config.backbone.input)}: set " + "'strategy.adapter.net.input=${backbone.input}'"
        )
    changed = copy.deepcopy(backbone)
    start_random_state(config.seed, "adapter")
    strategy.adapter.insert(changed, inputs(config).example(2))
    return changed


def module(
    config: DictConfig,
    backbone: Backbone,
    strategy: Strategy,
    task: Task,
    parts: Parts,
    source: Splits | None,
    from_source: bool,
    input: Input,
    weights: str | None = None,
    teachers: Mapping[str, Teacher] | None = None,
) -> TransferModule:
    """The net with its head, its losses prepared. Head and losses draw from random states of their own.

    Args:
        config: of the run.
        backbone: that the head stands on.
        strategy: says which head and holds the losses.
        task: of the run.
        parts: the target, cut.
        source: its data, where some loss reads them.
        from_source: whether the backbone starts from a source's weights.
        input: what the backbone takes.
        weights: where these lie, once they are known.
        teachers: that its losses look up to.

    Raises:
        InputError: parts that do not fit together.
    """
    if strategy.head == "source" and not from_source:
        raise InputError("strategy.head=source: this run starts from no source, so there is no head to go on with")
    # where no label of the target is trained on, those of the source are
    task = fitted(task, parts.train.y if len(parts.train) or not source else source.train.y, len(parts.classes))
    source_task = fitted(task, source.train.y, len(source.classes)) if source else None
    start_random_state(config.seed, "head")
    if task.dense and isinstance(input, ArrayInput) and input.crop is not None:
        raise InputError(f"backbone.input.crop={input.crop}: labels of places in an image need the whole of it: null")
    example = input.example(2)
    head = task.build_head(backbone, len(parts.classes), example)
    start = starter(head)
    if start is not None and strategy.start == "source" and (weights is not None or not from_source):
        start.initialise(backbone, parts.classes, input)
    if strategy.head == "source" and weights is not None:
        still = "head" not in strategy.trainable((*backbone.parametric, "head"), 0)
        if still or strategy.shares_classes or not len(parts.train):  # no label of the target will correct it
            check_names(weights, parts.classes)
        carry_head(head, weights)
    head_from_source = strategy.head == "source" or getattr(head, "from_source", False)
    classes = {"target": len(parts.classes)} | ({"source": len(source.classes)} if source else {})
    if strategy.averaging is not None:
        strategy.averaging.check(backbone)
    for key, loss in strategy.losses.items():
        start_random_state(config.seed, "loss", key)
        setting = Setting(
            *(backbone, head, task, classes, example, from_source, source_task, parts.classes, head_from_source),
            teachers or {},
        )
        loss.prepare(setting)
    optimizer, schedule = build(config.optimizer), build(config.scheduler)
    return TransferModule(
        backbone, head, task, strategy, optimizer, schedule, len(parts.classes), config.seed, teachers
    )


def rules(config: DictConfig) -> Rules:
    """What selects by no target label; a source's own run, and one from before there were any, has none of it."""
    if "rules" not in config:
        return Rules(0, None)
    found = Rules(**{key: build(node) if key != "samples" else node for key, node in config.rules.items()})
    if found.collapse is not None and config.target.get("label_space", "same") != "same":
        # the target's classes are others than the source's, so that predictions far from these are no collapse
        found = replace(found, collapse=partial(found.collapse, distance=None))
    return found


def diagnostics(config: DictConfig) -> settings.Settings:
    """What watches a run; a source's own run has nothing of it, so that its id does not depend on it."""
    chosen: settings.Settings = build(config.diagnostics) if "diagnostics" in config else settings.OFF
    return chosen


def cache(config: DictConfig, whole: Mapping[str, Any], flops: Flops) -> PrefixCache:
    """What has batches enter behind frozen stages; a source's own run, and one from before there was any, has none."""
    chosen: Settings = build(config.cache) if "cache" in config else OFF
    about = {key: whole.get(key) for key in ("backbone", "augmentation")}
    about["adapter"] = whole["strategy"].get("adapter")
    return PrefixCache(chosen, Path(config.paths.cache) / FOLDER, about, flops)


def trainer(
    config: DictConfig, checkpoint: Path, callbacks: Sequence[Callback], others: ClusterEnvironment | None = None
) -> Trainer:
    """Lightning's Trainer, which after each epoch overwrites one checkpoint to resume from.

    Args:
        config: of the run.
        checkpoint: its file.
        callbacks: to be called before it is written.
        others: among which processes this one is; None: there is one.

    Raises:
        InputError: no epochs, or settings that Lightning refuses.
    """
    if not config.trainer.max_epochs or config.trainer.max_epochs < 1:
        raise InputError(f"trainer.max_epochs={config.trainer.max_epochs}: at least 1")
    resumable = _Resumable(
        dirpath=checkpoint.parent,
        filename=checkpoint.stem,
        enable_version_counter=False,
        save_on_train_epoch_end=True,
    )
    beside = {} if others is None else {"strategy": Beside(others, str(config.trainer.strategy))}
    built: Trainer = build(
        _lightnings(config.trainer),
        **beside,
        callbacks=[*callbacks, resumable],
        logger=False,
        default_root_dir=str(checkpoint.parent),
        enable_progress_bar=sys.stderr.isatty(),
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )
    built.fit_loop.epoch_loop = Epoch(built, built.min_steps, built.max_steps)
    if others is not None:
        listen(built)
    return built


def alone(config: DictConfig, fitted: Trainer, callbacks: Sequence[Callback]) -> Trainer:
    """What measures when the fit is over, in this process: its trainer, or one of its own where there were several."""
    if fitted.world_size == 1:
        return fitted
    device = fitted.strategy.root_device
    own = copy.deepcopy(config)
    with open_dict(own):
        own.trainer.update(devices=1 if device.index is None else [device.index], num_nodes=1, strategy="auto")
    found = trainer(own, Path(fitted.default_root_dir) / results.RESUME, callbacks)
    found.logger = fitted.logger
    return found


class _Resumable(ModelCheckpoint):
    """Written at the ends of epochs, and so not asked after every batch."""

    on_train_batch_end = Callback.on_train_batch_end


def _lightnings(trainer: DictConfig) -> DictConfig:
    """The trainer's node without the keys that are ours."""
    node = copy.deepcopy(trainer)
    with open_dict(node):
        for key in results.COMPUTING:
            node.pop(key, None)
    return node
