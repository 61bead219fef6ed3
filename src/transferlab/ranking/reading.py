"""The samples that candidates are scored on: of the target, and of a source that has data."""

import json
from dataclasses import replace

import numpy as np
import torch
from omegaconf import DictConfig

from transferlab import building, feeding, nodes, results
from transferlab.data.module import TransferData
from transferlab.data.parts import Parts
from transferlab.data.samples import Samples, Splits
from transferlab.data.target import Target, strata
from transferlab.seeding import derive


class Reader:
    """Reads a set of data once for all candidates that take it.

    Args:
        samples: of the target, and of a source, at most.
    """

    def __init__(self, samples: int) -> None:
        self._samples = samples
        self._targets: dict[str, Target] = {}
        self._sources: dict[str, Splits] = {}

    def data(self, config: DictConfig) -> TransferData:
        """Training samples of the target and, where it has data, of the source; without what changes them in training.

        Labels that the target hides are not among them (decision 24).

        Raises:
            InputError: they do not fit together or the backbone.
        """
        whole = results.portable(config)
        key = json.dumps(whole["target"])
        target = self._targets[key] = self._targets.get(key) or nodes.build(config.target)
        parts, source = feeding.cut(config, target), None
        if config.source.data is not None:
            key = json.dumps([whole["source"], target.test, target.source_test])
            source = self._sources[key] = self._sources.get(key) or feeding.beside(config, target)
            source = feeding.encoded_alike(replace(source, test=None), parts)
            source = replace(source, train=self._drawn(source.train, source.classes, config.seed, "source"))
        own = "target" if len(parts.train) else "unlabeled"
        return TransferData(
            self._few(parts, config.seed),
            source,
            frozenset({own} if source is None else {own, "source"}),
            building.inputs(config),
            reconstructs=False,
            batch_size=config.batch_size,
            workers=config.workers,
            seed=config.seed,
        )

    def _few(self, parts: Parts, seed: int) -> Parts:
        """The training samples that are scored; of the test split one, at which nobody looks."""
        few = replace(parts, val=None, test=parts.test.take(torch.tensor([0])))
        if len(parts.train):
            return replace(few, train=self._drawn(parts.train, parts.classes, seed, "target"), unlabeled=None)
        assert parts.unlabeled is not None
        return replace(few, unlabeled=self._drawn(parts.unlabeled, (), seed, "target"))

    def _drawn(self, samples: Samples, classes: tuple[str, ...], seed: int, side: str) -> Samples:
        """So many samples at most, of each class its share."""
        if len(samples) <= self._samples:
            return samples
        order = np.random.default_rng(derive(seed, "ranking", side)).permutation(len(samples))
        y, _ = strata(samples.y, classes)
        by_class = order[np.argsort(y[order], kind="stable")]
        evenly = np.linspace(0, len(samples) - 1, self._samples).round().astype(int)
        return samples.take(torch.from_numpy(np.sort(by_class[evenly])))
