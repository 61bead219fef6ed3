"""Nets beside the one that trains, from config nodes: the source's, and those of finished runs."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from transferlab import migrations, pretraining, results
from transferlab.adapters.base import Adapter
from transferlab.backbones.base import Backbone
from transferlab.backbones.weights import classifier, load, read_tensors
from transferlab.data.module import TransferData
from transferlab.data.samples import Samples
from transferlab.data.target import Target
from transferlab.diagnostics.forgetting import Exam, set_exam
from transferlab.diagnostics.privacy import Membership, attacks
from transferlab.diagnostics.probe import Probe, undisturbed
from transferlab.errors import InputError
from transferlab.inputs.base import Input
from transferlab.losses.teacher import Teacher
from transferlab.nodes import build
from transferlab.strategy import Strategy
from transferlab.tasks.base import Task, observe
from transferlab.teachers import Named
from transferlab.trust import check_located_targets
from transferlab.values import Value
from transferlab.withheld import shown


def teachers(
    config: DictConfig, strategy: Strategy, backbone: Backbone, task: Task, input: Input, weights: str | None
) -> dict[str, Teacher]:
    """Those that the strategy names, or the source's net where it names none; nothing where no loss has a teacher.

    Args:
        config: of the run.
        strategy: whose losses learn.
        backbone: that the run starts from; the source's teacher is a copy.
        task: of the run.
        input: that the backbone takes.
        weights: of the source, once they are known.

    Raises:
        InputError: a run that is not finished, or that takes another input.
    """
    if not strategy.learns:
        return {}
    from_source = pretraining.starts_from_source(config, strategy.start)
    named = strategy.teachers or ({"source": Named(1.0, None)} if from_source else {})
    found, example = {}, input.example(2)
    for name, teacher in named.items():
        if teacher.folder is not None:
            found[name] = of_run(Path(teacher.folder), teacher.weight, config, example)
        elif from_source:
            found[name] = of_source(config, backbone, task, example, weights, teacher.weight)
        else:
            raise InputError(f"strategy.teachers.{name} is the source's net, and this run starts from none: set source")
    return found


def of_source(
    config: DictConfig, backbone: Backbone, task: Task, example: Value, weights: str | None, weight: float
) -> Teacher:
    """The source's net as the run starts from it, with the source's own head where it has one."""
    net, about = copy.deepcopy(backbone), _about(config) | {"adapter": None}
    if config.source.pretrain is not None:
        recipe = pretraining.config_of(config)
        head, own = own_head(recipe, None if weights is None else Path(weights), net, example, task.dense)
        return Teacher(net, head, own, weight, about)
    head = None if task.dense else classifier(net, str(config.source.weights))
    return Teacher(net, head, None, weight, about)


def of_run(folder: Path, weight: float, config: DictConfig, example: Value) -> Teacher:
    """The selected net of a finished run.

    Raises:
        InputError: there is none, or it takes another input than this run.
    """
    record = results.read(folder)
    if record is None or record["status"] != "finished":
        raise InputError(
            f"strategy.teachers: {folder} holds no finished run (run.json, {results.SELECTED}); name runs/STUDY/ID"
        )
    theirs: DictConfig = OmegaConf.create(record["config"])  # type: ignore[assignment]  # its keys are a mapping's
    theirs.merge_with(migrations.later_keys(record["config"]))
    check_located_targets(theirs)
    if theirs.backbone.input != config.backbone.input:
        raise InputError(
            f"strategy.teachers: the net of {folder} takes another input than this run's backbone: "
            f"{dict(theirs.backbone.input)}, here {dict(config.backbone.input)}"
        )
    net: Backbone = build(theirs.backbone)
    task: Task = build(theirs.task)
    if task.dense:
        net.cut()
    head = task.build_head(net, len(record["data"]["classes"]), example)
    state = read_tensors(folder / results.SELECTED)
    strategy: Strategy = build(theirs.strategy)
    if strategy.adapter is not None and strategy.adapter.save == "alone":
        _adapted(net, strategy.adapter, state, record["data"]["source_weights"], example, folder)
    else:
        load(net, str(folder / results.SELECTED))
    head.load_state_dict({key.removeprefix("head."): value for key, value in state.items() if key.startswith("head.")})
    return Teacher(net, head, task, weight, _about(theirs))


def _about(config: DictConfig) -> dict[str, Any]:
    """What a run's net is, as far as its weights do not say it."""
    node = results.portable(config)
    return {"backbone": node["backbone"], "adapter": node["strategy"].get("adapter")}


def _adapted(
    net: Backbone, adapter: Adapter, state: Mapping[str, Tensor], source: str | None, example: Value, folder: Path
) -> None:
    """Make a net what a run kept the adapter of, and no more."""
    if source is not None:
        load(net, shown(source))
    adapter.insert(net, example)
    own = {key.removeprefix("backbone."): value for key, value in state.items() if key.startswith("backbone.")}
    found = net.load_state_dict(own, strict=False)
    if found.unexpected_keys or (source is None and found.missing_keys):
        raise InputError(
            f"strategy.teachers: {folder} kept its adapter alone, and the net that it stands in is no longer known: do "
            "that run with strategy.adapter.save=merged"
        )


def exam(recipe: DictConfig, weights: Path, backbone: Backbone, data: TransferData, dense: bool) -> Exam | None:
    """Test samples of a source and its own head, as the pretraining `recipe` had them; None if they have no classes.

    Args:
        recipe: the config of the source's own run.
        weights: what that run selected.
        backbone: holds them already.
        data: normalises, for every run on this backbone alike.
        dense: whether this run's backbone has lost its tail, and with it the features that the source's head takes.
    """

    def read() -> Samples:
        target: Target = build(recipe.target)
        return target.parts(recipe.seed).test

    head, task = own_head(recipe, weights, backbone, data.input.example(2), dense)
    return None if head is None or task is None else set_exam(weights, read, task, backbone, head, data)


def membership(
    recipe: DictConfig, weights: Path, backbone: Backbone, data: TransferData, dense: bool, samples: int
) -> Membership | None:
    """What of a source an attacker asks about, and learns from its net; None if the source has no classes, or no two.

    Args:
        recipe: the config of the source's own run.
        weights: what that run selected.
        backbone: holds them already.
        data: normalises.
        dense: whether this run's backbone has lost its tail, and with it the features that the source's head takes.
        samples: training samples of the source to look at, and test samples, at most.
    """
    head, task = own_head(recipe, weights, backbone, data.input.example(2), dense)
    if head is None or task is None:
        return None
    target: Target = build(recipe.target)
    parts = target.parts(recipe.seed)
    count = min(samples, len(parts.train), len(parts.test))
    if count < 2:
        return None
    members, nonmembers = (Probe.of(part.prepared(data.input), count, data) for part in (parts.train, parts.test))
    before = attacks(backbone, head, task, members, nonmembers)
    return Membership(members, nonmembers, head, task, before)


def own_head(
    recipe: DictConfig, weights: Path | None, backbone: Backbone, example: Value, dense: bool
) -> tuple[nn.Module, Task] | tuple[None, None]:
    """The head that a source was pretrained with, and its task; None and None if it has no classes.

    Args:
        recipe: the config of the source's own run.
        weights: what that run selected; None: it is still to be done, and the head is random.
        backbone: that the head stands on; it stays as it is.
        example: a small input.
        dense: whether the backbone has lost its tail, and with it the features that the head takes.
    """
    task: Task = build(recipe.task)
    if task.dense or dense:
        return None, None
    if weights is None:
        target: Target = build(recipe.target)
        classes = target.data.classes
    else:
        classes = (results.read(weights.parent) or {})["data"]["classes"]
    with undisturbed(backbone), torch.no_grad():  # a new head draws random numbers
        head = task.build_head(backbone, len(classes), example)
        if task.probabilities(observe(backbone, head, example)[2]) is None:
            return None, None
    if weights is not None:
        state = {key: value for key, value in read_tensors(weights).items() if key.startswith("head.")}
        head.load_state_dict({key.removeprefix("head."): value for key, value in state.items()})
    return head, task
