"""torchvision's vision transformers: ViT, whose tokens carry learned positions, and Swin, whose windows move."""

from functools import partial
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from transferlab.backbones.base import Backbone
from transferlab.backbones.fitted import POSITIONS, resized_positions
from transferlab.backbones.glue import class_token
from transferlab.backbones.stages import Stage
from transferlab.backbones.torchvision.library import check_member, checked, fresh, member, numbered
from transferlab.errors import InputError
from transferlab.inputs.arrays import ArrayInput


def vit(input: ArrayInput, name: str) -> Backbone:
    """ViT (Dosovitskiy et al. 2021): stages `patches, block0..blockN, pool`, features 768, 1024 or 1280.

    Stages give tokens (B, 1 + h * w, features), the class token first; `pool` takes it. The last LayerNorm is the
    last block's end. The position embeddings are of the input's size; for images of another size than that they are
    interpolated in each pass.

    Raises:
        InputError: no such net, or images that are not square or not whole patches.
    """
    check_member(name, ("vit*",), input)
    _check_patches(name, input)
    net = fresh(name, input, image_size=input.shape[1])
    net.heads = nn.Identity()
    *blocks, last = [f"encoder.layers.{block}" for block, _ in net.encoder.layers.named_children()]
    stages = [
        Stage(
            "patches",
            ["conv_proj", _tokens, _with_positions, "encoder.dropout"],
            owns=["class_token", POSITIONS],
        ),
        *(Stage(f"block{number}", [block]) for number, block in enumerate(blocks)),
        Stage(f"block{len(blocks)}", [last, "encoder.ln"]),
        Stage("pool", [class_token]),
    ]
    backbone = Backbone(net, stages, net.hidden_dim, name, ignored=["heads"], tail="pool", grid=_token_maps)
    return checked(backbone, input, partial(_at_any_size, net))


def _check_patches(name: str, input: ArrayInput) -> None:
    height, width = input.shape[1:]
    side = int(name.rpartition("_")[2])
    if height != width or height % side:
        near = max(height // side, 1) * side
        raise InputError(
            f"backbone.input.shape={list(input.shape)}: {name} takes square images whose side is a multiple of {side}, "
            f"its patches' side, such as [{input.shape[0]},{near},{near}]"
        )


def _tokens(net: Any, x: Tensor) -> Tensor:
    """Patches (B, D, h, w) to tokens (B, 1 + h * w, D), the class token first."""
    patches = x.flatten(2).transpose(1, 2)
    return torch.cat([net.class_token.expand(len(x), -1, -1), patches], 1)


def _with_positions(net: Any, x: Tensor) -> Tensor:
    positions = net.encoder.pos_embedding
    return x + (positions if positions.shape[1] == x.shape[1] else resized_positions(positions, x.shape[1]))


def _token_maps(net: nn.Module, x: Tensor) -> Tensor:
    """Tokens (B, 1 + h * h, D) without the class token, as maps (B, D, h, h)."""
    side = isqrt(x.shape[1] - 1)
    return x[:, 1:].transpose(1, 2).reshape(len(x), -1, side, side)


def _at_any_size(net: Any, x: Tensor) -> Tensor:
    """The library's own forward, for square images of another size than the net's too."""
    size, net.image_size = net.image_size, x.shape[-1]
    tokens = 1 + (x.shape[-1] // net.patch_size) ** 2
    try:
        features: Tensor = functional_call(net, {POSITIONS: resized_positions(net.encoder.pos_embedding, tokens)}, x)
    finally:
        net.image_size = size
    return features


def swin(input: ArrayInput, name: str) -> Backbone:
    """Swin (Liu et al. 2021) and Swin V2 (Liu et al. 2022): stages `patches, stage1..stage4, pool`, features 768, 1024.

    Stages give maps (B, H, W, C), channels last. A stage begins with the merging of patches that halves its maps; the
    last LayerNorm is the last stage's end.
    """
    net = member(name, ("swin*",), input)
    features = net.head.in_features
    net.head = nn.Identity()
    groups = [["features.1"], *([f"features.{index}", f"features.{index + 1}"] for index in (2, 4, 6))]
    groups[-1].append("norm")
    stages = [
        Stage("patches", ["features.0"]),
        *numbered("stage", groups),
        Stage("pool", ["permute", "avgpool", "flatten"]),
    ]
    backbone = Backbone(net, stages, features, name, ignored=["head"], tail="pool", grid=_channels_first)
    return checked(backbone, input)


def _channels_first(net: nn.Module, x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)
