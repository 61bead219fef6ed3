"""How much a task needs each channel of a net's stages."""

import copy
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transferlab.backbones.base import Backbone
from transferlab.tasks.base import Task, counted
from transferlab.values import Pair, Seq, Value, chunks, each

_STEPS = 100  # of L-BFGS at most; the objective is convex where the head is linear
_BATCH = 64


def fitted(
    head: nn.Module, backbone: Backbone, task: Task, batches: Iterable[tuple[Value, Tensor]], beta: float
) -> nn.Module:
    """A copy of a head, trained on a frozen backbone's features: the task loss plus `beta / 2 * |w|^2`, by L-BFGS.

    Args:
        head: where the copy starts from.
        backbone: in evaluation mode; its features are vectors.
        task: whose loss it is.
        batches: of samples.
        beta: strength of the penalty.
    """
    with torch.no_grad():
        seen = [(backbone(x), y) for x, y in batches]
    counts = [counted(task, y) for _, y in seen]
    head = copy.deepcopy(head)
    weights = [w for w in head.parameters() if w.requires_grad]
    if not weights:
        return head
    optimizer = torch.optim.LBFGS(weights, max_iter=_STEPS, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        optimizer.zero_grad()
        total = beta / 2 * torch.stack([w.square().sum() for w in weights]).sum()
        for (features, y), count in zip(seen, counts, strict=True):
            total = total + count / sum(counts) * task.loss(head(features), y)
        total.backward()  # type: ignore[no-untyped-call]
        return total

    with torch.enable_grad():
        optimizer.step(objective)  # type: ignore[no-untyped-call]
    return head


@torch.no_grad()
def increases(backbone: Backbone, head: nn.Module, task: Task, stage: str, x: Value, y: Tensor) -> Tensor:
    """By how much the task loss of a batch grows when one channel of a stage's output is 0, for each channel (C,).

    Args:
        backbone: in evaluation mode.
        head: on its features.
        task: whose loss it is.
        stage: of the backbone.
        x: inputs of B samples.
        y: their labels.
    """
    whole = backbone.observe(x, [stage])[1][stage]
    rest = backbone.stages[backbone.stages.index(stage) + 1 :]

    def loss(value: Value) -> Tensor:
        return task.loss(head(backbone(value, start=rest[0]) if rest else value), y)

    before = loss(whole)
    axis = _axis(backbone, whole)
    channels = (whole.h if isinstance(whole, Seq) else whole).shape[axis]
    return torch.stack([loss(_without(whole, axis, channel)) - before for channel in range(channels)])


def spread(batches: Iterable[tuple[Value, Tensor]], of: int, count: int) -> list[tuple[Value, Tensor]]:
    """At most `count` of all samples, in their order and evenly spaced, so that a set sorted by class shows them all.

    Args:
        batches: of all samples in order.
        of: how many these are.
        count: how many are wanted.

    Returns:
        Batches anew.
    """
    wanted = torch.linspace(0, of - 1, min(count, of)).round().long()
    xs, ys, first = [], [], 0
    for x, y in batches:
        here = (wanted[(wanted >= first) & (wanted < first + len(y))] - first).to(y.device)
        xs.append(each(partial(torch.index_select, dim=0, index=here), x))
        ys.append(y[here])
        first += len(y)
    pieces = -(-len(wanted) // _BATCH)
    return list(zip(chunks(_joined(xs), pieces), torch.cat(ys).tensor_split(pieces), strict=True))


def _joined(values: Sequence[Any]) -> Value:
    """Batches as one; sequences are padded to the longest."""
    if isinstance(values[0], Pair):
        return Pair(_joined([value.first for value in values]), _joined([value.second for value in values]))
    if not isinstance(values[0], Seq):
        return torch.cat(list(values))
    longest = max(value.h.shape[1] for value in values)
    return Seq(*(torch.cat([_padded(tensor, longest) for tensor in part]) for part in zip(*values, strict=True)))


def _padded(tensor: Tensor, length: int) -> Tensor:
    return F.pad(tensor, (0, 0) * (tensor.ndim - 2) + (0, length - tensor.shape[1]))


def _axis(backbone: Backbone, value: Tensor | Seq) -> int:
    """That of the channels: the last one, but of maps that the backbone gives as they are."""
    return 1 if isinstance(value, Tensor) and value.ndim == 4 and backbone.maps(value) is value else -1


def _without(value: Tensor | Seq, axis: int, channel: int) -> Tensor | Seq:
    """The same output, one channel of it 0; a copy, as a stage may write over what it takes."""
    if isinstance(value, Seq):
        return Seq(torch.index_fill(value.h, axis, _index(value.h, channel), 0), value.mask)
    return torch.index_fill(value, axis, _index(value, channel), 0)


def _index(near: Tensor, channel: int) -> Tensor:
    return torch.tensor([channel], device=near.device)
