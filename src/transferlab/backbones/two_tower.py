"""Two backbones as one: a tower for images and a tower for texts, side by side."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from transferlab.backbones.base import Backbone
from transferlab.backbones.checking import check_chain
from transferlab.backbones.stages import Stage
from transferlab.errors import InputError
from transferlab.inputs.base import Input
from transferlab.inputs.pair import PairInput
from transferlab.values import Pair


class Towers(nn.Module):
    """Two backbones that know nothing of one another."""

    def __init__(self, image: Backbone, text: Backbone) -> None:
        super().__init__()
        self.image = image
        self.text = text

    @property
    def widths(self) -> tuple[int, int]:
        """Features of the images' tower, and of the texts'."""
        return self.image.features, self.text.features


def two_tower(input: Input, image: Backbone, text: Backbone) -> Backbone:
    """One chain over pairs of an image and a text, as CLIP has (Radford et al. 2021, https://arxiv.org/abs/2103.00020).

    Stages are those of the texts' tower, `text.NAME`, then those of the images', `image.NAME`, and `join`. What names
    stages by their distance from the head, as gradual unfreezing does, reaches the images' tower first; `text.` before
    its names is what freezes one tower alone.

    Args:
        input: both towers' inputs.
        image: any backbone for images.
        text: any backbone for texts.

    Returns:
        A backbone whose features are both towers' side by side, (B, image.features + text.features).

    Raises:
        InputError: an input that gives no pairs.
    """
    if not isinstance(input, PairInput):
        raise InputError(f"backbone=two_tower takes pairs, its input gives {input.kind}: leave its own input")
    net = Towers(image, text)
    stages = [*_stages("text", text), *_stages("image", image), Stage("join", [_side_by_side])]
    ignored = [f"{name}.net.{path}" for name, tower in (("image", image), ("text", text)) for path in tower.ignored]
    backbone = Backbone(net, stages, sum(net.widths), "two_tower", ignored)
    check_chain(backbone, partial(_apart, net), input.example(2))
    return backbone


def _stages(name: str, tower: Backbone) -> list[Stage]:
    """A tower's stages as those of the whole: each changes its own side of the pair and hands on the other."""
    run = _run_image if name == "image" else _run_text
    ends = [*tower.stages[1:], None]
    return [
        Stage(
            f"{name}.{stage}",
            [partial(run, start=stage, stop=end)],
            owns=[f"{name}.net.{path}" for path in tower.paths(stage)],
        )
        for stage, end in zip(tower.stages, ends, strict=True)
    ]


def _run_image(net: nn.Module, x: Pair, start: str, stop: str | None) -> Pair:
    return Pair(net.get_submodule("image")(x.first, start, stop), x.second)


def _run_text(net: nn.Module, x: Pair, start: str, stop: str | None) -> Pair:
    return Pair(x.first, net.get_submodule("text")(x.second, start, stop))


def _side_by_side(net: nn.Module, x: Pair) -> Tensor:
    return torch.cat([x.first, x.second], 1)


def _apart(net: Towers, x: Any) -> Tensor:
    return _side_by_side(net, Pair(net.image(x.first), net.text(x.second)))
