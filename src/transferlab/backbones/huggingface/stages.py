"""Stages that nets of several modalities have in common."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from transferlab.backbones.stages import Glue, Stage


def blocks(paths: Sequence[str], step: Callable[..., Any], last: Sequence[str | Glue]) -> list[Stage]:
    """Stages `block0, block1, ...`, one a layer.

    Args:
        paths: of the layers.
        step: glue (net, value, path) -> value that calls the layer.
        last: further steps of the last block, such as the net's last norm.
    """
    ends = [*([] for _ in paths[1:]), list(last)]
    return [
        Stage(f"block{number}", [partial(step, path=path), *end], owns=[path])
        for number, (path, end) in enumerate(zip(paths, ends, strict=True))
    ]


def unmasked(net: nn.Module, tokens: Tensor, path: str) -> Tensor:
    """A step for `blocks`: a layer that masks nothing, as all tokens are real."""
    found: Tensor = net.get_submodule(path)(tokens, None)
    return found
