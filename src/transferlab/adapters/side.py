"""Side-tuning: a net beside the frozen backbone, blended with it at the end."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from math import log
from typing import Any, Literal

import torch
from torch import Tensor, nn

from transferlab.adapters.base import Adapter
from transferlab.backbones.base import Backbone
from transferlab.backbones.looking import outputs
from transferlab.backbones.stages import Stage
from transferlab.errors import InputError
from transferlab.values import Seq, Value

ROOM = "side"
"""Where in a net the side net stands."""


class Kept:
    """The input of a pass through the chain, from its first stage to its last. A copy begins empty."""

    def __init__(self) -> None:
        self._x: Value | None = None

    def keep(self, x: Value) -> None:
        """Remember the input of a pass that begins."""
        self._x = x

    def take(self) -> Value:
        """The input of the pass that ends, forgotten here.

        Raises:
            InputError: no pass has begun at the first stage.
        """
        x, self._x = self._x, None
        if x is None:
            raise InputError(
                "strategy.adapter=side: the side net reads the input of the first stage, and the backbone was entered "
                "behind it; what does so, as diagnostics.saliency, does not go with it: turn that off, or choose "
                "another strategy.adapter"
            )
        return x

    def __deepcopy__(self, memo: dict[int, Any]) -> "Kept":
        return Kept()


class SideNet(nn.Module):
    """S and alpha of `alpha B(x) + (1 - alpha) S(x)`.

    Args:
        net: S.
        features: of B, where they are vectors and S has others; a linear layer makes the one of the other.
        alpha: at the start.
        learned: whether it is the sigmoid of a number that trains.
    """

    def __init__(self, net: Backbone, features: int, alpha: float, learned: bool) -> None:
        super().__init__()
        self.net = net
        self.fit = nn.Identity() if net.features == features else nn.Linear(net.features, features)
        self.fixed = None if learned else alpha
        self.logit = nn.Parameter(torch.tensor(log(alpha / (1 - alpha)))) if learned else None

    @property
    def alpha(self) -> Tensor | float:
        """The share of the backbone, in [0, 1]."""
        if self.logit is not None:
            return self.logit.sigmoid()
        assert self.fixed is not None
        return self.fixed

    def forward(self, x: Value, h: Any) -> Any:
        """B's last value `h` (B, ...) of an input `x`, blended with S's, which has its shape."""
        said = self.net(x)
        if isinstance(h, Seq):
            return Seq(self._blended(h.h, said.h), h.mask)
        return self._blended(h, self.fit(said))

    def _blended(self, base: Tensor, side: Tensor) -> Tensor:
        return self.alpha * base + (1 - self.alpha) * side


class SideTuning(Adapter):
    """A side net trains on the input beside the backbone, and the head sees `R(x) = alpha B(x) + (1 - alpha) S(x)`.

    Zhang et al. 2020, "Side-Tuning: A Baseline for Network Adaptation via Additive Side Networks" (ECCV), section 3:
    B, the backbone, stays as it is; S is a copy of it or another net; alpha is the sigmoid of a learned number.
    R has the shape of what the backbone's last stage gives: features (B, F), and for dense tasks maps or sequences. The
    side net and alpha are of the last stage that has parameters, and train when the freezing schedule trains that one.

    Args:
        net: S, with random weights; None: a copy of the backbone with its starting weights.
        alpha: share of the backbone at the start, in (0, 1); in [0, 1] if it is not learned, where 1 is the backbone
            alone and 0 the side net alone.
        learned: whether alpha trains.
        save: `alone`; nothing can merge it.

    Raises:
        InputError: a number out of its range, or another word.
    """

    reads_input = True

    def __init__(self, net: Backbone | None, alpha: float, learned: bool, save: Literal["alone", "merged"]) -> None:
        super().__init__(save)
        if not 0 <= alpha <= 1:
            raise InputError(f"strategy.adapter.alpha={alpha}: a share in [0, 1]")
        if learned and alpha in (0, 1):
            raise InputError(
                f"strategy.adapter.alpha={alpha} can never change by learning: choose a share in (0, 1), or "
                "strategy.adapter.learned=false"
            )
        self.net, self.alpha, self.learned = net, alpha, learned

    def put(self, backbone: Backbone, example: Value) -> None:
        """Put the side net beside the chain, which keeps its input in front and blends behind."""
        if not backbone.parametric:
            raise InputError(
                f"strategy.adapter=side: backbone '{backbone.name}' has no parameters to leave as they are"
            )
        self._check(backbone, example)
        # copied, since a strategy is put into more than one net
        net = copy.deepcopy(backbone if self.net is None else self.net)
        backbone.net.add_module(ROOM, SideNet(net, backbone.features, self.alpha, self.learned))
        backbone.alter(_beside(backbone).values())

    def _check(self, backbone: Backbone, example: Value) -> None:
        last = backbone.stages[-1]
        h = outputs(backbone, example, [last])[last]
        if self.net is not None and not (isinstance(h, Tensor) and h.ndim == 2):
            raise InputError(
                "strategy.adapter.net: another side net gives one vector a sample, and this task takes maps or "
                "sequences: set strategy.adapter.net=null, for a copy of the backbone"
            )


def _beside(backbone: Backbone) -> Mapping[str, Stage]:
    """The stages with what the side net needs of them."""
    kept = Kept()
    first, last, owner = backbone.stages[0], backbone.stages[-1], backbone.parametric[-1]
    found = {name: backbone.stage(name) for name in (first, last, owner)}
    found[first] = replace(found[first], steps=[partial(_keep, kept=kept), *found[first].steps])
    found[last] = replace(found[last], steps=[*found[last].steps, partial(_blend, kept=kept)])
    found[owner] = replace(found[owner], owns=[*found[owner].owns, ROOM])
    return found


def _keep(net: nn.Module, x: Value, kept: Kept) -> Value:
    kept.keep(x)
    return x


def _blend(net: nn.Module, h: Any, kept: Kept) -> Any:
    return net.get_submodule(ROOM)(kept.take(), h)
