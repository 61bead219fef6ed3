"""A run up to its first step: net, losses, data, what watches, and a source that is pretrained."""

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig
from pytorch_lightning.plugins.precision import MixedPrecision

from transferlab import agent, building, dp_sgd, feeding, nodes, pretraining, results, runtime, teaching
from transferlab.backbones import weights as backbone_weights
from transferlab.backbones.base import Backbone
from transferlab.data import duplicates
from transferlab.data.parts import Parts, describe, sizes
from transferlab.data.samples import Splits
from transferlab.data.sets import PARTS
from transferlab.errors import DivergedError, InputError, unknown
from transferlab.fitting import rehearse
from transferlab.fusing import fused
from transferlab.module import TransferModule, start_random_state
from transferlab.processes.base import Company
from transferlab.processes.counting import check_divided
from transferlab.results import Record
from transferlab.selection.rules import Rule, Unseen, is_oracle, name
from transferlab.strategy import Strategy
from transferlab.tasks.base import Task
from transferlab.tracking import Tracker
from transferlab.training import Run
from transferlab.watching import watching

_log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class Common:
    """What runs share in which no net trains, by what it is; each takes what it finds, and puts there what is new.

    Attributes:
        nets: with their weights.
        data: the target, cut, and the source's.
        described: what the record says of them.
        settings: built from a node of the config, which no run changes.
    """

    nets: dict[str, Backbone] = field(default_factory=dict)
    data: dict[str, tuple[Parts, Splits | None]] = field(default_factory=dict)
    described: dict[str, Mapping[str, object]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    def setting(self, build: Callable[[DictConfig], T], config: DictConfig, *said: object) -> T:
        """What is built from a config that says the same."""
        key = json.dumps([build.__name__, *said], sort_keys=True)
        if key not in self.settings:
            self.settings[key] = build(config)
        found: T = self.settings[key]
        return found


def prepared(
    config: DictConfig,
    folder: Path,
    tracker: Tracker,
    record: Record,
    run: Callable[[DictConfig], Record],
    common: Common | None = None,
    company: Company | None = None,
) -> Run:
    """Everything up to the first step; a source that is to be pretrained, is.

    Args:
        config: of the run.
        folder: that it lies in.
        tracker: for it.
        record: is told of the data and of how it will be computed.
        run: does the source's own.
        common: to other runs too; None: there are none.
        company: of this process; None: there is no other.
    """
    common = common or Common()
    start_random_state(config.seed, "build")
    strategy: Strategy = nodes.build(config.strategy)
    others = company.environment if company is not None else None
    if others is not None:
        check_divided(config, strategy.solver is not None)
    task: Task = nodes.build(config.task)
    from_source = pretraining.starts_from_source(config, strategy.start)
    whole = results.portable(config)
    known, held = building.net_key(whole, task, from_source), feeding.key(whole, strategy)
    if held not in common.data:
        common.data[held] = feeding.data(config, strategy, task.reconstructs)
    parts, source_data = common.data[held]
    shared = common.nets.get(known)
    backbone = shared or building.net(config, task)
    diagnostics = common.setting(building.diagnostics, config, whole.get("diagnostics"))
    rules = common.setting(building.rules, config, whole.get("rules"), whole["target"].get("label_space"))
    watched = watching(config, whole, folder, strategy, parts, task, diagnostics.watch, rules, from_source)
    trainer = building.trainer(config, folder / results.RESUME, watched.callbacks, others)

    input = common.setting(building.inputs, config, whole["backbone"]["input"])

    def assembled(weights: str | None) -> TransferModule:
        teachers = teaching.teachers(config, strategy, backbone, task, input, weights)
        net = building.adapted(config, backbone, strategy)
        return building.module(config, net, strategy, task, parts, source_data, from_source, input, weights, teachers)

    recipe = source = None
    if from_source and config.source.pretrain is not None:
        recipe = pretraining.checked(config, record["config"])
    at_hand = shared is not None or (recipe is not None and results.is_finished(results.folder(recipe)))
    if from_source and at_hand:
        source = source_weights(config, recipe, run)
        if shared is None:
            backbone_weights.load(backbone, source)
    # where the source is not at hand it is built again below; whatever is wrong is found before that trains for hours
    module = assembled(source)
    measured = (*(module.measured if parts.val is not None else ()), *watched.appraiser.measured)
    watched.keep.check(measured if not is_oracle(watched.keep.rule) else module.tested)
    if f"val/{task.metric}" not in module.measured:
        raise unknown("task.metric", task.metric, [name.removeprefix("val/") for name in module.measured])
    data = feeding.batches(config, parts, source_data, strategy, task, input)
    watched.appraiser.check(data, task)
    if strategy.interpolation is not None and strategy.interpolation.alpha is None:
        _check_validates(watched.keep.rule)
    diagnostics.check(module, data)
    mixes = bool(config.get("augmentation") and config.augmentation.batch)
    dp_sgd.check(module, data, trainer, mixes)
    if recipe is not None and not at_hand:
        data.decode(*PARTS)
        rehearse(module, data)
    if held not in common.described:
        common.described[held] = describe(parts)

    before = time.perf_counter()
    exam = membership = None
    if from_source and not at_hand:
        source = source_weights(config, recipe, run)
        backbone_weights.load(backbone, source)
    if source is not None and recipe is not None and watched.watch.examines:
        exam = teaching.exam(recipe, Path(source), backbone, data, task.dense)
    if source is not None and recipe is not None and diagnostics.privacy:
        asked = (recipe, Path(source), backbone, data, task.dense)
        membership = teaching.membership(*asked, diagnostics.privacy_samples)
    common.nets[known] = backbone
    # pretraining has a record of its own, and the exam is set once for all runs of a source
    record["cost"]["seconds"] = before - time.perf_counter()
    if from_source and not at_hand:
        module = assembled(source)
    taught = [str(Path(one.folder) / results.SELECTED) for one in strategy.teachers.values() if one.folder is not None]
    on_cpu = trainer.strategy.root_device.type == "cpu"
    chosen = record["environment"]["runtime"]
    chosen["channels_last"] = runtime.channels_last(module, module.backbone, config.trainer.channels_last, on_cpu)
    unscales = bool(config.trainer.gradient_clip_val) and isinstance(trainer.precision_plugin, MixedPrecision)
    module.build_optimizer, chosen["fused"] = fused(module.build_optimizer, config.trainer.fused, on_cpu, unscales)
    module.build_optimizer = dp_sgd.attached(module)
    _log.info("%s", runtime.said(chosen))
    writes = trainer.is_global_zero
    duplicates = _source_duplicates(folder, parts, source_data, [source, *taught]) if writes else None
    record["data"] = {
        **common.described[held],
        "source_weights": source,
        "source_sizes": sizes(source_data),
        "source_duplicates": duplicates,
    }
    record["history"] = watched.history.rows
    module.beside = watched.unchanged.read
    return Run(config, folder, record, tracker, parts, module, data, trainer, watched, diagnostics, exam, membership)


def _check_validates(rule: Rule) -> None:
    """See that a rule can tell interpolated weights apart, which are no epochs.

    Raises:
        InputError: it scores epochs alone.
    """
    if isinstance(rule, Unseen) or is_oracle(rule):
        raise InputError(
            f"strategy.interpolation.alpha=null is chosen on held-out labels, which selection={name(rule)} does not "
            "look at: set selection=target_val, or an alpha"
        )


def source_weights(config: DictConfig, recipe: DictConfig | None, run: Callable[[DictConfig], Record]) -> str:
    """Where the source's weights lie; they are pretrained now if they are nowhere.

    Args:
        config: of the run.
        recipe: of the source's own; None: its weights are given.
        run: does the source's own.

    Raises:
        InputError: two origins are given, or the pretraining diverged.
    """
    if recipe is None:
        return str(config.source.weights)
    if config.source.weights is not None:
        raise InputError("source.weights and source.pretrain are both given: set one of them to null")
    folder = results.folder(recipe)
    weights = str(folder / results.SELECTED)
    if results.is_finished(folder):  # of a thousand runs that start from it none waits for another's lock
        return weights
    _log.info("pretraining %s on %s (%s)", recipe.axes.backbone, recipe.axes.target, folder)
    try:
        with agent.away():
            diverged = run(recipe)["status"] == "diverged"
    except DivergedError:
        diverged = True
    if diverged:
        raise InputError(f"the source's pretraining diverged ({folder}): change source.pretrain")
    return weights


def _source_duplicates(folder: Path, parts: Parts, source: Splits | None, weights: Sequence[str | None]) -> int | None:
    """How many test samples the source or a teacher has seen; None where nothing is known of their samples.

    What this run sees, and they have seen, is kept beside its weights for the runs that start from these.
    """
    seen = [] if source is None else [duplicates.identities(source.train)]
    seen += [earlier for file in weights if (earlier := duplicates.seen_by(file)) is not None]
    own = [duplicates.identities(part) for part in (parts.train, parts.val) if part is not None and len(part)]
    duplicates.write_seen(folder, [*own, *seen])
    if parts.unlabeled is not None and parts.hides:
        duplicates.check_hidden(parts.unlabeled, *seen)
    return duplicates.source_duplicates(parts.test, *seen)
