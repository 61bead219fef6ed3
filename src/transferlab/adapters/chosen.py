"""Adapters that put nothing into a net: some of its own parameters train, the others stay as they are."""

from collections.abc import Collection, Sequence
from typing import Literal

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from transferlab.adapters.base import Adapter
from transferlab.adapters.places import in_stages
from transferlab.backbones.base import Backbone
from transferlab.errors import InputError
from transferlab.values import Value


class _Chosen(Adapter):
    merges = linear = True
    what = ""

    def __init__(self, stages: Sequence[str | int] | None, save: Literal["alone", "merged"]) -> None:
        super().__init__(save)
        self.stages = stages
        self._names: frozenset[str] = frozenset()

    def put(self, backbone: Backbone, example: Value) -> None:
        """Find what is chosen, and see that there is something."""
        stages = in_stages(backbone, self.stages)
        self._names = self.found(backbone, stages)
        if not self._names:
            raise InputError(f"backbone '{backbone.name}' has no {self.what} in the stages {', '.join(stages)}")

    def chooses(self, net: nn.Module, name: str) -> bool:
        """Whether it is one of those."""
        return name in self._names

    def found(self, backbone: Backbone, stages: Collection[str]) -> frozenset[str]:
        """The parameters that train, by their paths in the net."""
        raise NotImplementedError


class BitFit(_Chosen):
    """The biases: of layers, of attention's projections, and the shifts of norms.

    Ben Zaken, Ravfogel & Goldberg 2022, "BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked
    Language-models" (ACL), section 3.

    Args:
        stages: names, patterns or positions; None: all.
        save: `alone` or `merged`.

    Raises:
        InputError: another word.
    """

    what = "biases"

    def found(self, backbone: Backbone, stages: Collection[str]) -> frozenset[str]:
        """The biases."""
        names = (name for name, _ in backbone.net.named_parameters() if backbone.stage_of(name) in stages)
        return frozenset(name for name in names if _is_bias(name.rpartition(".")[2]))


class NormTuning(_Chosen):
    """Scales and shifts of the norms; BatchNorm's statistics follow the target.

    Frankle, Schwab & Morcos 2021, "Training BatchNorm and Only BatchNorm: On the Expressive Power of Random Features in
    CNNs" (ICLR), there with weights that were never trained; for transfer Mudrakarta et al. 2019, "K for the Price of
    1: Parameter-efficient Multi-task and Transfer Learning" (ICLR), scale-and-bias patches.

    Args:
        stages: names, patterns or positions; None: all.
        save: `alone` or `merged`.

    Raises:
        InputError: another word.
    """

    what = "norms with parameters"

    def found(self, backbone: Backbone, stages: Collection[str]) -> frozenset[str]:
        """Scales and shifts."""
        names, self._live = norms_in(backbone, stages)
        return names

    def enlivens(self, module: nn.Module) -> bool:
        """BatchNorm normalises by the batch, as in training."""
        return id(module) in self._live


def norms_in(backbone: Backbone, stages: Collection[str]) -> tuple[frozenset[str], frozenset[int]]:
    """The paths of the parameters that norms have in these stages, and the identities of those that are BatchNorm."""
    inside = [(path, m) for path, m in backbone.net.named_modules() if is_norm(m) and backbone.stage_of(path) in stages]
    names = (f"{path}.{name}" for path, norm in inside for name, _ in norm.named_parameters(recurse=False))
    return frozenset(names), frozenset(id(norm) for _, norm in inside if isinstance(norm, _BatchNorm))


def is_norm(module: nn.Module) -> bool:
    """Whether it is a norm of torch, or one that a library names so, as T5LayerNorm and timm's BatchNormAct2d are."""
    known = (_BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.modules.instancenorm._InstanceNorm)
    return isinstance(module, known) or "Norm" in type(module).__name__


def _is_bias(leaf: str) -> bool:
    # Swin's relative_position_bias_table is an embedding
    return "bias" in leaf and not leaf.endswith("table")
