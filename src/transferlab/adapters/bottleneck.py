"""Bottleneck adapters: a small net beside the identity, behind layers or stages."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn

from transferlab.adapters.base import Adapter
from transferlab.adapters.places import in_stages, layers, side_of
from transferlab.backbones.base import Backbone
from transferlab.backbones.looking import outputs
from transferlab.errors import InputError
from transferlab.values import Pair, Seq, Value

ROOM = "adapters"
"""Where in a net parts stand that are behind whole stages."""


class Bottleneck(nn.Module):
    """`h + W_up relu(W_down h + b_down) + b_up` at each position.

    W_up and b_up are zero at the start, so that the net begins as it was (Houlsby et al. begin near the identity).

    Args:
        features: of h, its last dimension; of maps (B, C, H, W) with `maps` the second.
        width: of the bottleneck.
        maps: whether it takes maps.
    """

    def __init__(self, features: int, width: int, maps: bool) -> None:
        super().__init__()
        self.maps = maps
        self.down, self.up = nn.Linear(features, width), nn.Linear(width, features)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, h: Tensor) -> Tensor:
        """Of h, in its shape."""
        x = h.movedim(1, -1) if self.maps else h
        more: Tensor = self.up(torch.relu(self.down(x)))
        return h + (more.movedim(-1, 1) if self.maps else more)


class Followed(nn.Module):
    """A layer with a bottleneck behind it.

    Args:
        layer: of the net.
        bottleneck: on its outputs.
    """

    def __init__(self, layer: nn.Module, bottleneck: Bottleneck) -> None:
        super().__init__()
        self.layer, self.bottleneck = layer, bottleneck

    @property
    def weight(self) -> Any:
        """The layer's, of which transformers' patch embeddings read the type before they call it."""
        return self.layer.weight

    def forward(self, x: Tensor) -> Tensor:
        """Of what the layer takes."""
        h: Tensor = self.bottleneck(self.layer(x))
        return h


class BottleneckAdapter(Adapter):
    """A bottleneck behind each chosen layer, or behind each stage.

    Houlsby et al. 2019, "Parameter-Efficient Transfer Learning for NLP" (ICML), section 2.1, put one behind the last
    layer of attention and of the feed-forward block in each layer of a transformer, before the residual is added: for
    BERT `modules: ["*.output.dense"]`. Behind whole blocks they stand with `modules: null`, as for CNNs.

    Args:
        width: of the bottleneck.
        modules: patterns of paths of linear layers or convolutions; None: behind each stage.
        stages: names, patterns or positions; None: all.
        save: `alone`; nothing can merge it.

    Raises:
        InputError: a number out of its range, or another word.
    """

    def __init__(
        self,
        width: int,
        modules: Sequence[str] | None,
        stages: Sequence[str | int] | None,
        save: Literal["alone", "merged"],
    ) -> None:
        super().__init__(save)
        if width < 1:
            raise InputError(f"strategy.adapter.width={width}: at least 1")
        self.width, self.modules, self.stages = width, modules, stages

    def put(self, backbone: Backbone, example: Value) -> None:
        """Put them behind layers or stages."""
        if self.modules is None:
            self._behind_stages(backbone, example)
        else:
            self._behind_layers(backbone, example, self.modules)

    def _behind_layers(self, backbone: Backbone, example: Value, modules: Sequence[str]) -> None:
        for path, layer in layers(backbone, example, (nn.Linear, nn.Conv2d), self.stages, modules).items():
            conv = isinstance(layer, nn.Conv2d)
            features = layer.out_channels if isinstance(layer, nn.Conv2d) else int(layer.out_features)  # type: ignore[arg-type]
            backbone.net.set_submodule(path, Followed(layer, Bottleneck(features, self.width, conv)))
        backbone.alter()

    def _behind_stages(self, backbone: Backbone, example: Value) -> None:
        inside = in_stages(backbone, self.stages)
        seen = outputs(backbone, example, backbone.stages)
        backbone.net.add_module(ROOM, nn.ModuleDict())
        altered = []
        for before, stage in pairwise((None, *backbone.stages)):
            if stage is None or stage not in inside:
                continue
            side = side_of(example if before is None else seen[before], seen[stage])
            h, name = _hidden(seen[stage], side, stage), stage.replace(".", "_")
            maps = h.ndim == 4 and not _channels_last(_tower(backbone, side), h)
            backbone.net.get_submodule(ROOM).add_module(name, Bottleneck(h.shape[1 if maps else -1], self.width, maps))
            path, known = f"{ROOM}.{name}", backbone.stage(stage)
            step = partial(_through, path=path, side=side)
            altered.append(replace(known, steps=[*known.steps, step], owns=[*known.owns, path]))
        backbone.alter(altered)


def _through(net: nn.Module, value: Any, path: str, side: int | None) -> Any:
    if side is not None:
        return value._replace(**{Pair._fields[side]: _through(net, value[side], path, None)})
    part = net.get_submodule(path)
    return Seq(part(value.h), value.mask) if isinstance(value, Seq) else part(value)


def _tower(backbone: Backbone, side: int | None) -> Backbone:
    """The net whose values stand on a side of a pair."""
    tower: Any = backbone if side is None else (backbone.net.image, backbone.net.text)[side]
    found: Backbone = tower
    return found


def _hidden(value: Any, side: int | None, stage: str) -> Tensor:
    if side is not None:
        return _hidden(value[side], None, stage)
    if isinstance(value, Seq):
        return value.h
    if isinstance(value, Tensor):
        return value
    raise InputError(
        f"strategy.adapter.modules=null: stage '{stage}' gives more than one tensor; name layers in "
        'strategy.adapter.modules, ["*"] for all'
    )


def _channels_last(backbone: Backbone, value: Tensor) -> bool:
    """Whether maps (B, H, W, C) come out of a stage, as of a Swin: then `Backbone.maps` turns them."""
    turned = backbone.maps(value)
    return turned.shape != value.shape or not torch.equal(turned, value)
