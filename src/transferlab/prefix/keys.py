"""By what activations are found: the weights of the stages before a boundary, and all else they come from."""

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch

from transferlab.backbones.base import Backbone

_FORMAT = 2


class Keys:
    """Of one net, whose weights are hashed once as long as nobody says that they have changed.

    Args:
        backbone: the net.
        about: the net and what changes samples, as far as weights and seeds do not say it.
    """

    def __init__(self, backbone: Backbone, about: Mapping[str, Any]) -> None:
        self.about = {**about, "format": _FORMAT, "torch": torch.__version__}
        self._backbone = backbone
        self._weights: dict[str, str] = {}

    def __call__(self, stages: Sequence[str], kept: Collection[str]) -> str:
        """The key of what these first stages give, with outputs kept of some of them."""
        weights = [[name, self._hash(name)] for name in stages]
        said = {**self.about, "kept": list(kept), "stages": weights}
        return hashlib.blake2b(json.dumps(said, sort_keys=True).encode(), digest_size=12).hexdigest()

    def changed(self, stages: Iterable[str]) -> None:
        """These have other weights than before."""
        for stage in stages:
            self._weights.pop(stage, None)

    def follow(self, other: "Keys") -> None:
        """Take over the hashes of another run's keys of the same net."""
        self._weights = other._weights

    def _hash(self, stage: str) -> str:
        if stage not in self._weights:
            self._weights[stage] = hashed(self._backbone, stage)
        return self._weights[stage]


def alike(one: Backbone, other: Backbone, most: int) -> Iterator[str]:
    """The first stages that two nets have in common, weights included; no more than `most` are looked at."""
    for mine, its in zip(one.stages[:most], other.stages[:most], strict=False):
        if mine != its or hashed(one, mine) != hashed(other, its):
            return
        yield mine


def hashed(backbone: Backbone, stage: str) -> str:
    """Of everything in a stage that has a value."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in backbone.stage_tensors(stage):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
