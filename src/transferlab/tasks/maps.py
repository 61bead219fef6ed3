"""The maps that a backbone's stages give, for heads that stand on several of them."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from transferlab.backbones.base import Backbone
from transferlab.errors import InputError, unknown
from transferlab.values import Value


def map_shapes(backbone: Backbone, example: Value) -> Mapping[str, tuple[int, int, int]]:
    """Channels, height and width of the maps that each stage makes of an example; stages without maps are left out.

    Raises:
        InputError: no stage gives maps.
    """
    training = backbone.training
    backbone.eval()
    with torch.no_grad():
        last, kept = backbone.observe(example, backbone.stages)
    shapes = {}
    for stage in backbone.stages:
        try:
            shapes[stage] = _shape(backbone.maps(kept[stage]))
        except InputError:
            continue
    if not shapes:
        backbone.maps(last)  # says why there are none
    backbone.train(training)
    return shapes


def chosen(
    reads: Sequence[str] | None, otherwise: Sequence[str], shapes: Mapping[str, tuple[int, int, int]]
) -> tuple[str, ...]:
    """The stages that a head reads, `otherwise` where the config names none.

    Raises:
        InputError: a stage that is not there or gives no maps, or one twice.
    """
    names = tuple(otherwise if reads is None else reads)
    for name in names:
        if name not in shapes:
            raise unknown("stage with maps", name, shapes)
    if not names or len(set(names)) < len(names):
        raise InputError(f"task.reads={list(names)}: at least one stage, each once; null chooses them")
    return names


def _shape(maps: Tensor) -> tuple[int, int, int]:
    channels, height, width = maps.shape[1:]
    return channels, height, width
