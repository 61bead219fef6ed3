"""Vision towers: images in, tokens along the chain, one vector an image out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import isqrt
from typing import Any

from torch import Tensor, nn

from transferlab.backbones.base import Backbone
from transferlab.backbones.checking import check_chain
from transferlab.backbones.glue import chosen_pooling, class_token
from transferlab.backbones.huggingface.base import built, configured
from transferlab.backbones.huggingface.stages import blocks, unmasked
from transferlab.backbones.stages import Glue, Stage
from transferlab.errors import InputError, unknown
from transferlab.inputs.arrays import ArrayInput
from transferlab.inputs.base import Input, Shape


@dataclass(frozen=True)
class _Layout:
    """Where the parts of a tower stand: its embeddings, blocks and last norm, and whether pooling comes before that."""

    embeddings: Sequence[str | Glue]
    owns: Sequence[str]
    layers: str
    norm: str
    pools_first: bool


def tower(
    input: Input, kind: str, origin: str | None, architecture: Mapping[str, Any] | None, pooling: str, attention: str
) -> Backbone:
    """ViT (Dosovitskiy et al. 2021), DINOv2 (Oquab et al. 2024) or the vision tower of CLIP (Radford et al. 2021).

    Stages `embeddings, block0..blockN, pool` give tokens (B, 1 + h * w, D), the class token first. The last norm is the
    last block's end; CLIP's comes after pooling and is of the stage `pool`. The dense layer that ViTs were published
    with behind the class token is left out. Images of another size than the net's get interpolated positions.

    Args:
        input: images.
        kind: `vit`, `dinov2` or `clip_vision_model`.
        origin: whose architecture it has: a hub id, a folder or `package:NAME/FOLDER`; None: the type's base, for
            images of the input's size and channels.
        architecture: what differs from that.
        pooling: `cls`, the class token; `mean` of the patches.
        attention: `sdpa` or `eager`.

    Returns:
        A backbone with features (B, D).

    Raises:
        InputError: names or sizes that do not fit together.
    """
    if kind not in _LAYOUTS:
        raise unknown("vision tower of type", kind, _LAYOUTS)
    layout, pool, shape = _LAYOUTS[kind], chosen_pooling(pooling, _POOLINGS), _image_shape(input, kind)
    fitted = {"image_size": max(shape[1:]), "num_channels": shape[0]} if origin is None else {}
    config = configured(kind, origin, {**fitted, **(architecture or {})})
    _check_shape(shape, config, kind)
    net = built(config, attention)
    if kind == "vit":
        net.pooler = None
    paths = [f"{layout.layers}.{number}" for number in range(config.num_hidden_layers)]
    stages = [
        Stage("embeddings", layout.embeddings, owns=layout.owns),
        *blocks(paths, unmasked, [] if layout.pools_first else [layout.norm]),
        Stage("pool", [pool, layout.norm] if layout.pools_first else [pool]),
    ]
    grid = partial(_maps, size=(shape[1] // config.patch_size, shape[2] // config.patch_size))
    backbone = Backbone(net, stages, config.hidden_size, kind, ignored=["pooler"], tail="pool", grid=grid)
    check_chain(
        backbone,
        partial(_library, net, layout, pool),
        input.small(2) if isinstance(input, ArrayInput) else input.example(2),
    )
    return backbone


def _image_shape(input: Input, kind: str) -> Shape:
    shape: Shape = getattr(input, "shape", ())
    if len(shape) != 3:
        raise InputError(f"backbone.input is for {input.kind}, '{kind}' takes images [channels, height, width]")
    return shape


def _check_shape(shape: Shape, config: Any, kind: str) -> None:
    if shape[0] != config.num_channels:
        raise InputError(
            f"backbone.input.shape={list(shape)}: this {kind} takes {config.num_channels} channels; "
            f"set backbone.input.shape=[{config.num_channels},{shape[1]},{shape[2]}]"
        )
    if min(shape[1:]) < config.patch_size:
        raise InputError(
            f"backbone.input.shape={list(shape)}: this {kind} takes images from {config.patch_size} x "
            f"{config.patch_size} on, one patch; set a larger shape or a smaller backbone.architecture.patch_size"
        )


def _library(net: Any, layout: _Layout, pool: Glue, x: Tensor) -> Tensor:
    """The library's own forward, pooled."""
    elsewhere = {"interpolate_pos_encoding": True} if layout.embeddings[0] is _embedded else {}
    tokens = pool(net, net(x, **elsewhere).last_hidden_state)
    features: Tensor = net.get_submodule(layout.norm)(tokens) if layout.pools_first else tokens
    return features


def _embedded(net: Any, x: Tensor) -> Tensor:
    size = net.config.image_size
    own = (size, size) if isinstance(size, int) else tuple(size)
    tokens: Tensor = net.embeddings(x, interpolate_pos_encoding=tuple(x.shape[2:]) != own)
    return tokens


def _mean_of_patches(net: nn.Module, x: Tensor) -> Tensor:
    return x[:, 1:].mean(1)


def _maps(net: nn.Module, x: Tensor, size: tuple[int, int]) -> Tensor:
    """Tokens (B, 1 + h * w, D) without the class token, as maps (B, D, h, w); of another size than usual, square."""
    patches = x[:, 1:].transpose(1, 2)
    height, width = size if patches.shape[2] == size[0] * size[1] else 2 * (isqrt(patches.shape[2]),)
    return patches.reshape(*patches.shape[:2], height, width)


_POOLINGS: Mapping[str, Glue] = {"cls": class_token, "mean": _mean_of_patches}


_LAYOUTS = {
    "vit": _Layout([_embedded], ["embeddings"], "layers", "layernorm", pools_first=False),
    "dinov2": _Layout(["embeddings"], [], "encoder.layer", "layernorm", pools_first=False),
    "clip_vision_model": _Layout(
        [_embedded, "pre_layrnorm"], ["embeddings"], "encoder.layers", "post_layernorm", pools_first=True
    ),
}
