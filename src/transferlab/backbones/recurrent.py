"""Recurrent nets, LSTM and GRU, on sequences of frames or of token ids."""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from transferlab.backbones.base import Backbone
from transferlab.backbones.glue import chosen_pooling, step_mean
from transferlab.backbones.stages import Glue, Stage
from transferlab.errors import InputError, unknown
from transferlab.inputs.base import Input
from transferlab.inputs.series import channels_of
from transferlab.values import Seq


@runtime_checkable
class Tokens(Protocol):
    """An input whose batches are sequences of token ids (B, T)."""

    @property
    def vocabulary(self) -> int:
        """How many ids there are."""
        ...


def recurrent(
    input: Input,
    cell: str,
    hidden: int,
    layers: int,
    bidirectional: bool,
    dropout: float,
    pooling: str,
    embedding: int,
) -> Backbone:
    """Layers of LSTM (Hochreiter & Schmidhuber 1997) or GRU (Cho et al. 2014); stages `layer1..layerN, pool`.

    Texts have a stage `embeddings` before them. A layer is a torch module of its own, so that it can be frozen or
    entered alone; together they compute what torch's module of N layers does. Sequences are packed: padding has no
    influence on a real step.

    Args:
        input: of frames, or of token ids.
        cell: `lstm` or `gru`.
        hidden: units of a layer, in each direction.
        layers: how many.
        bidirectional: whether each layer also reads from the end to the beginning (Schuster & Paliwal 1997).
        dropout: share of a layer's outputs dropped before the next layer, in [0, 1).
        pooling: `last` (the state after the last step of each direction), `mean` or `max` over the real steps.
        embedding: length of a token's vector; no part of a net on frames.

    Returns:
        A backbone with features (B, hidden), twice as many if bidirectional.

    Raises:
        InputError: an input of another kind, a number out of range, or an unknown word.
    """
    cells: dict[str, Callable[..., nn.Module]] = {"lstm": nn.LSTM, "gru": nn.GRU}
    if cell not in cells:
        raise unknown("backbone.cell", cell, cells)
    _check(hidden=hidden, layers=layers, embedding=embedding)
    if not 0 <= dropout < 1:
        raise InputError(f"backbone.dropout={dropout}: a share in [0, 1)")
    net, stages = nn.ModuleDict(), []
    name = f"bi{cell}" if bidirectional else cell
    if isinstance(input, Tokens):
        # no index is set apart for padding: it is masked, and may be the id of a real token
        net["embeddings"] = nn.Embedding(input.vocabulary, embedding)
        stages.append(Stage("embeddings", ["embeddings"]))
        before = embedding
    else:
        before = channels_of(input, name)
    for number in range(1, layers + 1):
        layer, drop = f"layer{number}", f"dropout{number}"
        net[layer] = cells[cell](before, hidden, batch_first=True, bidirectional=bidirectional)
        steps: list[str | Glue] = [partial(_read, layer=layer)]
        if number < layers:
            net[drop] = nn.Dropout(dropout)
            steps.append(drop)
        stages.append(Stage(layer, steps, owns=[layer]))
        before = hidden * (1 + bidirectional)
    stages.append(Stage("pool", [_pooling(pooling, bidirectional)]))
    return Backbone(net, stages, before, name, tail="pool")


def _check(**numbers: int) -> None:
    for key, number in numbers.items():
        if number < 1:
            raise InputError(f"backbone.{key}={number}: at least 1")


def _read(net: nn.Module, x: Seq, layer: str) -> Seq:
    """One layer over the real steps of each sequence; behind them its outputs are 0."""
    # an empty sequence cannot be packed; its mask goes on saying that it has no step
    lengths = x.mask.sum(1).clamp_min(1).cpu()
    packed = pack_padded_sequence(x.h, lengths, batch_first=True, enforce_sorted=False)
    outputs, _ = _live(net.get_submodule(layer), packed)
    h, _ = pad_packed_sequence(outputs, batch_first=True, total_length=x.h.shape[1])
    return Seq(h, x.mask)


def _live(module: nn.Module, packed: Any) -> Any:
    """Run a layer in training mode, a frozen one too: cuDNN sends no gradient through one in evaluation mode.

    It computes the same in both modes, having no dropout of its own.
    """
    mode, module.training = module.training, True
    try:
        return module(packed)
    finally:
        module.training = mode


def _pooling(name: str, bidirectional: bool) -> Glue:
    poolings: dict[str, Glue] = {
        "last": _both_ends if bidirectional else _last,
        "mean": step_mean,
        "max": _max,
    }
    return chosen_pooling(name, poolings)


def _last(net: nn.Module, x: Seq) -> Tensor:
    return x.h[torch.arange(len(x.h), device=x.h.device), x.mask.sum(1).clamp_min(1) - 1]


def _both_ends(net: nn.Module, x: Seq) -> Tensor:
    """The forward direction's state after the last step, and the backward one's after the first."""
    half = x.h.shape[-1] // 2
    return torch.cat([_last(net, x)[:, :half], x.h[:, 0, half:]], 1)


def _max(net: nn.Module, x: Seq) -> Tensor:
    return x.h.masked_fill(~x.mask[..., None], float("-inf")).amax(1)
