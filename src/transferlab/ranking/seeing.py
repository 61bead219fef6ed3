"""What a candidate sees of a target: features of its samples and its own, by the net that a run would start from."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn

from transferlab import building, nodes, pretraining, results, runtime
from transferlab.backbones import weights as backbone_weights
from transferlab.backbones.base import Backbone
from transferlab.cache.packing import UncacheableError
from transferlab.cache.store import CacheError
from transferlab.data.module import TransferData
from transferlab.data.vault import hidden
from transferlab.errors import InputError
from transferlab.flops import Flops
from transferlab.module import start_random_state
from transferlab.prefix.activations import Activations
from transferlab.prefix.entering import PrefixCache
from transferlab.prefix.inputs import Inputs
from transferlab.preparing import source_weights
from transferlab.ranking.embedding import embedding
from transferlab.ranking.reading import Reader
from transferlab.tasks.base import Task
from transferlab.teaching import own_head
from transferlab.train import run
from transferlab.transferability.candidate import Array, Candidate, Labels
from transferlab.trust import check_located_targets

_BATCH = 64
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Seen:
    """A candidate, and what it cost to see it.

    Attributes:
        candidate: what scores read.
        seconds: of reading samples and passing them through the net, or of finding what was passed before.
        cached: whether all of it was found in the cache.
        embedding_seconds: of embedding both tasks.
    """

    candidate: Candidate
    seconds: float
    cached: bool
    embedding_seconds: float


class Observer:
    """Sees candidates one after another; a set of data is read once for all of them.

    Args:
        samples: of the target, and of a source, at most.
        pretrain: whether a source whose own run is still to be done is trained now.
        embedded: samples of each side by which tasks are embedded; 0: they are not.
    """

    def __init__(self, samples: int, pretrain: bool, embedded: int) -> None:
        self._reader, self._pretrain, self._embedded = Reader(samples), pretrain, embedded

    def see(self, config: DictConfig) -> Seen:
        """What a run of this config would start from, on the target's training samples.

        Labels that the target hides are not in what is given to anything here (decision 24).

        Raises:
            InputError: target, source and backbone do not fit together, or a source is not there.
        """
        check_located_targets(config)
        with runtime.threads(config.trainer.threads), runtime.unfilled():
            runtime.allocator(config.trainer.allocator)
            return self._see(config)

    def _see(self, config: DictConfig) -> Seen:
        start_random_state(config.seed, "build")
        task: Task = nodes.build(config.task)
        if task.dense or task.reconstructs:
            raise InputError(
                f"scores read one label and one vector of features a sample, which task={config.task._target_} does "
                "not have: rank for a task of whole samples, e.g. classification or regression"
            )
        backbone = building.net(config, task)
        data = self._reader.data(config)
        head = self._start(config, backbone, data)
        backbone.requires_grad_(False).eval()
        module, trainer = LightningModule(), building.trainer(config, Path(config.paths.runs) / results.RESUME, [])
        module.backbone = backbone
        _seat(trainer, module, data)
        on_cpu = trainer.strategy.root_device.type == "cpu"
        runtime.channels_last(module, backbone, config.trainer.channels_last, on_cpu)
        began, inputs = time.perf_counter(), Inputs(trainer, data)
        cache = building.cache(config, results.portable(config), Flops())
        found = {part: _features(part, backbone, inputs, cache) for part in data.sets.domains}
        seconds = time.perf_counter() - began
        own = "target" if "target" in found else "unlabeled"
        features, source = found[own][0], found.get("source")
        candidate = Candidate(
            _exact(features),
            labels=_labels(data.sets.domains[own].y),
            probabilities=None if head is None else head(features),
            source_features=None if source is None else _exact(source[0]),
            source_labels=None if source is None else _classes(data.sets.domains["source"].y),
        )
        began = time.perf_counter()
        if self._embedded:
            candidate = _with_embeddings(candidate, backbone, inputs, own, self._embedded)
        ready = all(cached for _, cached in found.values())
        return Seen(candidate, seconds, ready, time.perf_counter() - began)

    def _start(self, config: DictConfig, backbone: Backbone, data: TransferData) -> "Answering | None":
        """Give the net its source's weights, as a run would; the source's classifier, where it has one."""
        if not pretraining.starts_from_source(config, "source"):
            return None
        recipe = None
        if config.source.pretrain is not None:
            recipe = pretraining.checked(config, results.written(config))
            if not self._pretrain and not results.is_finished(folder := results.folder(recipe)):
                raise InputError(
                    f"its own run is still to be done ({folder}) and pretrain=false: set pretrain=true, or train from "
                    "it once"
                )
        weights = source_weights(config, recipe, run)
        backbone_weights.load(backbone, weights)
        if recipe is None:
            layer = backbone_weights.classifier(backbone, weights)
            return None if layer is None or layer.out_features < 2 else Answering(layer, None)
        head, task = own_head(recipe, Path(weights), backbone, data.input.example(2), dense=False)
        return None if head is None or tuple(getattr(head, "reads", ())) else Answering(head, task)


class Answering:
    """The source's classifier, as it answers for features.

    Args:
        head: from features to outputs.
        task: that it was trained for; None: one class out of several.
    """

    def __init__(self, head: nn.Module, task: Task | None) -> None:
        self._head, self._task = head.double().eval(), task

    @torch.no_grad()
    def __call__(self, features: Tensor) -> Array | None:
        """Probabilities of the source's classes (N, S) for features (N, F)."""
        outputs = self._head(features.double())
        found = outputs.softmax(1) if self._task is None else self._task.probabilities(outputs)
        return None if found is None else _exact(found)


def _seat(trainer: Trainer, module: LightningModule, data: TransferData) -> None:
    """Have a trainer bring batches to the net as it would in a fit."""
    connected: Any = trainer
    connected.precision_plugin.convert_module(module)
    connected.strategy.connect(module)
    connected._data_connector.attach_data(module, datamodule=data)
    module.trainer = trainer
    module.to(trainer.strategy.root_device)


def _features(part: str, backbone: Backbone, inputs: Inputs, cache: PrefixCache) -> tuple[Tensor, bool]:
    """Of a part's samples, from the cache where it can be used, (N, F); and whether all were there."""
    rows = inputs.rows[part]
    if cache.settings.use != "off":
        try:
            boundary = len(backbone.stages)
            kept = Activations(backbone, (), inputs, cache.store, cache.settings.kind, cache.about)
            ready = kept.ready(boundary, [part])
            batches = kept.batches(part, boundary, ())
            if batches is not None:
                return _vectors(batches(torch.arange(len(rows))).value), ready
        except (CacheError, UncacheableError) as error:
            _log.info("cache off: %s", error)
    with torch.no_grad(), inputs.computing():
        found = [_vectors(backbone(x)) for x, _ in inputs.batches(part, range(len(rows)), _BATCH)]
    return torch.cat(found), False


def _vectors(features: Any) -> Tensor:
    if not isinstance(features, Tensor) or features.ndim != 2:
        raise InputError("its features are not one vector a sample, which scores read: choose another backbone")
    return features.detach().cpu()


def _with_embeddings(candidate: Candidate, backbone: Backbone, inputs: Inputs, own: str, samples: int) -> Candidate:
    """With those of both tasks, where both have classes."""
    source_features, source_labels = candidate.source_features, candidate.source_labels
    target = embedding(backbone, inputs, own, candidate.features, candidate.labels, samples)
    source = embedding(backbone, inputs, "source", source_features, source_labels, samples)
    if target is None or source is None:
        return candidate
    return replace(candidate, embedding=target, source_embedding=source)


def _exact(rows: Tensor) -> Array:
    found: Array = rows.double().numpy()
    return found


def _labels(y: Tensor) -> Array | Labels | None:
    """As a candidate has them; None where they are hidden."""
    return None if hidden(y) else _exact(y) if y.is_floating_point() else _classes(y)


def _classes(y: Tensor) -> Labels | None:
    """One class a sample; None where labels are something else."""
    return y.long().numpy() if y.ndim == 1 and not y.is_floating_point() else None


def identity(config: DictConfig) -> Mapping[str, Any]:
    """What a candidate's scores come from, of its config as others may read it."""
    whole = results.written(config)
    return {key: whole[key] for key in ("source", "backbone", "target", "task", "seed")}
