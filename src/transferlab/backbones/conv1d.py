"""A convolutional net for time series."""

from collections.abc import Sequence
from functools import partial

from torch import nn
from torch.nn import functional as F

from transferlab.backbones.base import Backbone
from transferlab.backbones.glue import step_mean
from transferlab.backbones.small import check_widths
from transferlab.backbones.stages import Stage
from transferlab.errors import InputError
from transferlab.inputs.base import Input
from transferlab.inputs.series import channels_of
from transferlab.values import Seq


def conv1d(input: Input, widths: Sequence[int], kernel: int) -> Backbone:
    """Blocks of 1-d convolution, BatchNorm, ReLU and max-pooling by 2; stages `block1..blockN, pool`.

    Much as the fully convolutional net of Wang et al. 2017, "Time Series Classification from Scratch with Deep Neural
    Networks: A Strong Baseline" (IJCNN), with halving in between. Padding has no influence: padded steps are zero
    wherever a kernel reaches them, BatchNorm sees real steps alone, and the mean at the end is theirs.

    Args:
        input: of frames (B, T, C).
        widths: channels of each block.
        kernel: steps that a convolution spans, odd.

    Returns:
        A backbone whose features are the last block's channels, averaged over the real steps: (B, widths[-1]).

    Raises:
        InputError: an input of another kind, no widths, or an even kernel.
    """
    channels = channels_of(input, "conv1d")
    check_widths(widths)
    if kernel < 1 or kernel % 2 == 0:
        raise InputError(f"backbone.kernel={kernel}: an odd number of steps, so that a kernel has a middle")
    net, stages = nn.ModuleDict(), []
    for number, (before, after) in enumerate(zip((channels, *widths), widths, strict=False), start=1):
        name = f"block{number}"
        net[name] = _Block(before, after, kernel)
        stages.append(Stage(name, [partial(_block, name=name)], owns=[name]))
    return Backbone(net, [*stages, Stage("pool", [step_mean])], widths[-1], "conv1d", tail="pool")


class _Block(nn.Module):
    """Convolution, BatchNorm, ReLU, halving; (B, T, C) to (B, ceil(T / 2), C')."""

    def __init__(self, before: int, after: int, kernel: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(before, after, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm1d(after)

    def forward(self, x: Seq) -> Seq:
        real = x.h.masked_fill(~x.mask[..., None], 0)
        h = self.convolution(real.transpose(1, 2)).transpose(1, 2)
        steps = F.relu(self.norm(h[x.mask]))
        h = steps.new_zeros(h.shape)
        h[x.mask] = steps
        # no output of a ReLU lies below 0, so a padded step never is a window's maximum
        h = F.max_pool1d(h.transpose(1, 2), 2, ceil_mode=True).transpose(1, 2)
        return Seq(h, x.mask[:, ::2])


def _block(net: nn.Module, x: Seq, name: str) -> Seq:
    halved: Seq = net.get_submodule(name)(x)
    return halved
