"""Published weights brought to a net for other channels or another image size."""

from collections import OrderedDict
from collections.abc import Mapping
from math import isqrt

import torch
from torch import Tensor, nn

POSITIONS = "encoder.pos_embedding"
"""Where torchvision's ViTs keep their position embeddings."""


def fitted(net: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, those of the first convolution and of the positions as the net takes them; others stay.

    Weights of a first convolution for colour images are brought to the net's channels by `for_channels`, position
    embeddings (1, 1 + h * h, D) to its image size by `resized_positions`. What does not fit for another reason is left
    as it is.
    """
    wanted, changed = net.state_dict(), dict(state)
    weight = f"{first_convolution(net)}.weight"
    if weight in state and _differ_at(1, state[weight], wanted[weight]) and state[weight].shape[1] == 3:
        changed[weight] = for_channels(state[weight], wanted[weight].shape[1])
    if POSITIONS in state and POSITIONS in wanted and _are_of_other_images(state[POSITIONS], wanted[POSITIONS]):
        changed[POSITIONS] = resized_positions(state[POSITIONS], wanted[POSITIONS].shape[1])
    return changed


def first_convolution(net: nn.Module) -> str | None:
    """The path of the convolution that reads the image; None: the net has none."""
    return next((name for name, module in net.named_modules() if isinstance(module, nn.Conv2d)), None)


def for_channels(weight: Tensor, channels: int) -> Tensor:
    """Weights (O, I, h, w) of a convolution for another number of channels.

    For one channel they are summed over the I channels; for more they are repeated cyclically and scaled by
    I / channels. For one channel or a multiple of I, images with all channels alike give what they gave before.
    """
    if channels == 1:
        return weight.sum(1, keepdim=True)
    given = weight.shape[1]
    return weight[:, torch.arange(channels) % given] * (given / channels)


def resized_positions(positions: Tensor, tokens: int) -> Tensor:
    """Position embeddings (1, 1 + h * h, D), the class token's first, interpolated to `tokens` of them.

    `tokens` is 1 + a square number; the class token's embedding stays, the others are resampled bicubically.
    """
    from torchvision.models.vision_transformer import interpolate_embeddings

    state = interpolate_embeddings(isqrt(tokens - 1), 1, OrderedDict({POSITIONS: positions}))
    resized: Tensor = state[POSITIONS]
    return resized


def _are_of_other_images(given: Tensor, wanted: Tensor) -> bool:
    """Whether both are position embeddings of square images, but not of one size."""
    return _differ_at(1, given, wanted) and isqrt(given.shape[1] - 1) ** 2 == given.shape[1] - 1


def _differ_at(axis: int, given: Tensor, wanted: Tensor) -> bool:
    """Whether two tensors' shapes differ along one axis and nowhere else."""
    if given.ndim != wanted.ndim:
        return False
    return [i for i, (a, b) in enumerate(zip(given.shape, wanted.shape, strict=True)) if a != b] == [axis]
