"""Adapters of the library peft: low-rank updates and learned scales of layers."""

import re
import warnings
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from torch import nn
from transformers.pytorch_utils import Conv1D

from transferlab.adapters.base import Adapter
from transferlab.adapters.places import layers, matched
from transferlab.backbones.base import Backbone
from transferlab.errors import InputError, unknown
from transferlab.values import Value

Save = Literal["alone", "merged"]
LINEAR, CONV, EMBEDDING = (nn.Linear, Conv1D), (nn.Conv2d, nn.Conv1d), (nn.Embedding,)


class _OfPeft(Adapter):
    """Layers wrapped by peft, each in place; merged, they are the net's own again."""

    merges = True
    kinds: ClassVar[dict[str, tuple[type[nn.Module], ...]]]

    def __init__(
        self, layers: Sequence[str], modules: Sequence[str], stages: Sequence[str | int] | None, save: Save
    ) -> None:
        super().__init__(save)
        if wrong := [kind for kind in layers if kind not in self.kinds]:
            raise unknown("strategy.adapter.layers", wrong[0], self.kinds)
        self.types = tuple(one for kind in layers for one in self.kinds[kind])
        self.modules, self.stages = modules, stages

    def config(self, paths: Sequence[str]) -> Any:
        """What peft calls its config, for the layers of these paths."""
        raise NotImplementedError

    def put(self, backbone: Backbone, example: Value) -> None:
        """Wrap the layers."""
        from peft import inject_adapter_in_model

        found = layers(backbone, example, self.types, self.stages, self.modules)
        # peft merges no convolution of several groups
        paths = [path for path, layer in found.items() if getattr(layer, "groups", 1) == 1]
        if not paths:
            raise InputError(
                f"strategy.adapter: every layer of backbone '{backbone.name}' that is chosen is a grouped convolution"
            )
        with warnings.catch_warnings():
            # peft remarks that it sets by itself which way round transformers' Conv1D stores its weight
            warnings.simplefilter("ignore")
            inject_adapter_in_model(self.config(paths), backbone.net)
        backbone.alter()

    def merge(self, backbone: Backbone) -> None:
        """Put what was learned into the layers' own weights."""
        from peft.tuners.tuners_utils import BaseTunerLayer

        wrapped = [(path, m) for path, m in backbone.net.named_modules() if isinstance(m, BaseTunerLayer)]
        for path, module in wrapped:
            module.merge(safe_merge=True)
            backbone.net.set_submodule(path, module.get_base_layer())
        backbone.alter()


class Lora(_OfPeft):
    """Low-rank adaptation: `h = W_0 x + (alpha / r) B A x`, A drawn at random, B zero, both trained.

    Hu et al. 2022, "LoRA: Low-Rank Adaptation of Large Language Models" (ICLR), equation 3; with `decomposed` DoRA, Liu
    et al. 2024, "DoRA: Weight-Decomposed Low-Rank Adaptation" (ICML), equation 5: the updated weight is brought to
    length 1 for each output and times a trained magnitude.

    Args:
        rank: r, of the update.
        alpha: over r the factor before the update.
        dropout: of the update's input.
        decomposed: DoRA in place of LoRA.
        layers: kinds of layers: `linear`, `conv`, `embedding`; convolutions of several groups stay as they are.
        modules: patterns of paths in the net.
        stages: names, patterns or positions; None: all.
        save: `alone` or `merged`.

    Raises:
        InputError: a number out of its range, or another word.
    """

    kinds: ClassVar = {"linear": LINEAR, "conv": CONV, "embedding": EMBEDDING}

    def __init__(
        self,
        rank: int,
        alpha: int,
        dropout: float,
        decomposed: bool,
        layers: Sequence[str],
        modules: Sequence[str],
        stages: Sequence[str | int] | None,
        save: Save,
    ) -> None:
        super().__init__(layers, modules, stages, save)
        if rank < 1:
            raise InputError(f"strategy.adapter.rank={rank}: at least 1")
        if not 0 <= dropout < 1:
            raise InputError(f"strategy.adapter.dropout={dropout}: a share in [0, 1)")
        if not alpha > 0:
            raise InputError(f"strategy.adapter.alpha={alpha}: a number above 0")
        self.rank, self.alpha, self.dropout, self.decomposed = rank, alpha, dropout, decomposed

    def config(self, paths: Sequence[str]) -> Any:
        """What peft calls its config."""
        from peft import LoraConfig

        return LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            use_dora=self.decomposed,
            target_modules=_exactly(paths),
        )


class IA3(_OfPeft):
    """Learned scales, 1 at the start: of a layer's outputs, or of its inputs where it is feed-forward.

    Liu et al. 2022, "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning"
    (NeurIPS), section 3.3: keys, values, and the input of the second layer of each feed-forward block.

    Args:
        feedforward: patterns of paths of the layers whose inputs are scaled, among those chosen.
        layers: kinds of layers: `linear`, `conv` (of two dimensions).
        modules: patterns of paths in the net.
        stages: names, patterns or positions; None: all.
        save: `alone` or `merged`.

    Raises:
        InputError: another word.
    """

    linear = True
    kinds: ClassVar = {"linear": LINEAR, "conv": (nn.Conv2d,)}

    def __init__(
        self,
        feedforward: Sequence[str],
        layers: Sequence[str],
        modules: Sequence[str],
        stages: Sequence[str | int] | None,
        save: Save,
    ) -> None:
        super().__init__(layers, modules, stages, save)
        self.feedforward = feedforward

    def config(self, paths: Sequence[str]) -> Any:
        """What peft calls its config."""
        from peft import IA3Config

        inputs = matched(self.feedforward, paths, "strategy.adapter.feedforward")
        return IA3Config(target_modules=_exactly(paths), feedforward_modules=_exactly(sorted(inputs)))


def _exactly(paths: Sequence[str]) -> str:
    """A regular expression; a list would match what ends alike too."""
    return "|".join(map(re.escape, paths)) or "(?!)"
