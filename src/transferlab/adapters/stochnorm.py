"""Stochastic normalisation: BatchNorm whose channels are normalised by the batch or by the moving statistics."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm
from torch.nn.modules.batchnorm import _BatchNorm

from transferlab.adapters.base import Adapter
from transferlab.adapters.places import in_stages
from transferlab.backbones.base import Backbone
from transferlab.errors import InputError
from transferlab.values import Value


class StochNorm(_BatchNorm):
    """`y = gamma (s x_batch + (1 - s) x_moving) + beta`, s ~ Bernoulli(p) drawn for each channel at each call.

    `x_batch` is normalised by the batch's statistics, `x_moving` by the moving ones as they were before the call, which
    updates them as BatchNorm does; no gradient goes through these. In evaluation mode it is BatchNorm.
    """

    p: float
    kind: type[_BatchNorm]
    """What it was."""

    def forward(self, x: Tensor) -> Tensor:
        """Of x, (B, C), (B, C, T) or (B, C, H, W), in its shape."""
        # without a momentum the statistics are being gathered anew, and there are no moving ones yet
        moving = self._by_moving(x) if self.training and self.momentum is not None else None
        y = super().forward(x)
        if moving is not None:
            s = torch.rand(self.num_features, device=x.device) < self.p
            y = torch.where(s.view(-1, *[1] * (x.ndim - 2)), y, moving)
        for behind in self.children():  # dropout and activation of timm's BatchNormAct2d
            y = behind(y)
        return y

    def _by_moving(self, x: Tensor) -> Tensor:
        assert self.running_mean is not None and self.running_var is not None
        # copies, as the gradient is taken after the statistics were updated in place
        moving = self.running_mean.clone(), self.running_var.clone()
        return batch_norm(x, *moving, self.weight, self.bias, training=False, eps=self.eps)


class StochNorm1d(StochNorm, nn.BatchNorm1d):
    """Of (B, C) or (B, C, T)."""


class StochNorm2d(StochNorm, nn.BatchNorm2d):
    """Of (B, C, H, W)."""


_STOCHASTIC: dict[str, type[StochNorm]] = {
    "BatchNorm1d": StochNorm1d,
    "BatchNorm2d": StochNorm2d,
    "BatchNormAct2d": StochNorm2d,
}


def stochastic(layer: _BatchNorm, p: float) -> StochNorm:
    """A layer changed in place, so that its parameters, statistics and their names stay.

    Raises:
        InputError: it is of a kind that is not known, or keeps no moving statistics by a momentum.
    """
    name = type(layer).__name__
    if name not in _STOCHASTIC:
        raise InputError(
            f"strategy.adapter=stochnorm knows {', '.join(_STOCHASTIC)}, and this net has a {name}: leave its stage "
            "out of strategy.adapter.stages"
        )
    if layer.running_mean is None or layer.momentum is None:
        raise InputError(
            "strategy.adapter=stochnorm needs moving statistics, and a BatchNorm of this net keeps none with a "
            "momentum: leave its stage out of strategy.adapter.stages"
        )
    changed: Any = layer
    changed.kind, changed.p = type(layer), p
    changed.__class__ = _STOCHASTIC[name]
    stoch: StochNorm = changed
    return stoch


def plain(layer: StochNorm) -> _BatchNorm:
    """The layer changed back in place."""
    changed: Any = layer
    changed.__class__ = changed.kind
    del changed.kind, changed.p
    bn: _BatchNorm = changed
    return bn


class StochasticNormalisation(Adapter):
    """The whole net trains, its BatchNorm layers changed to `StochNorm`, which depend less on what a batch holds.

    Kou et al. 2020, "Stochastic Normalization" (NeurIPS). There is nothing to merge but the layers' kind, as in
    evaluation mode they are BatchNorm.

    Args:
        p: probability of the batch's statistics, in [0, 1], as in the authors' code: 1 is BatchNorm, 0 BatchNorm in
            evaluation mode whose statistics go on.
        stages: whose BatchNorm changes: names, patterns or positions; None: all.
        save: `alone`, which is the whole net too, or `merged`.

    Raises:
        InputError: a number out of its range, or another word.
    """

    merges: ClassVar[bool] = True
    linear: ClassVar[bool] = True

    def __init__(self, p: float, stages: Sequence[str | int] | None, save: Literal["alone", "merged"]) -> None:
        super().__init__(save)
        if not 0 <= p <= 1:
            raise InputError(f"strategy.adapter.p={p}: a probability in [0, 1]")
        self.p, self.stages = p, stages

    def put(self, backbone: Backbone, example: Value) -> None:
        """Change the layers."""
        inside = in_stages(backbone, self.stages)
        named = backbone.net.named_modules()
        layers = [m for path, m in named if isinstance(m, _BatchNorm) and backbone.stage_of(path) in inside]
        if not layers:
            raise InputError(
                f"strategy.adapter=stochnorm: backbone '{backbone.name}' has no BatchNorm in the stages "
                f"{', '.join(inside)}; choose another backbone, or strategy=full_finetune"
            )
        for layer in layers:
            stochastic(layer, self.p)

    def chooses(self, net: nn.Module, name: str) -> bool:
        """Everything trains."""
        return True

    def enlivens(self, module: nn.Module) -> bool:
        """Everything is in training mode."""
        return True

    def merge(self, backbone: Backbone) -> None:
        """Change the layers back."""
        for module in backbone.net.modules():
            if isinstance(module, StochNorm):
                plain(module)
