"""Encoder-decoders for text: the encoder is a backbone; the decoder, which writes, is made for a head."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModelForSeq2SeqLM, PretrainedConfig
from transformers.masking_utils import create_bidirectional_mask

from transferlab.backbones.base import Backbone
from transferlab.backbones.checking import check_chain
from transferlab.backbones.huggingface.base import Config, built, configured, published, renamed
from transferlab.backbones.huggingface.stages import blocks
from transferlab.backbones.huggingface.text import latest, pooled_by, through_block
from transferlab.backbones.stages import Stage
from transferlab.backbones.weights import read_tensors
from transferlab.errors import InputError, unknown
from transferlab.inputs.base import Input
from transferlab.inputs.text import TextInput
from transferlab.values import Seq

_RELATIVE = ("t5", "mt5")
_ABSOLUTE = ("bart", "marian")
_HEAD = "head.net."

# untyped, in a library that says it is typed
_writers: Any = AutoModelForSeq2SeqLM


def encoder(
    input: Input, kind: str, origin: str | None, architecture: Mapping[str, Any], pooling: str, attention: str
) -> Backbone:
    """The encoder of T5 (Raffel et al. 2020), BART (Lewis et al. 2020) or Marian (Junczys-Dowmunt et al. 2018).

    Stages `embeddings, block0.., pool`; the last block holds the final norm. T5's table of relative positions is of
    `block0` and serves all blocks. For task=translation, which cuts the pooling off, or for whatever stands on vectors.

    Args:
        input: token ids.
        kind: `t5`, `mt5`, `bart` or `marian`.
        origin: whose architecture it has: a hub id, a folder or `package:NAME/FOLDER`; None: the type's base, with rows
            for the input's ids and its mark of the end.
        architecture: what differs from that, by the type's own keys.
        pooling: `cls`, the first token; `mean` of the real tokens; `last` real token.
        attention: `sdpa` or `eager`.

    Returns:
        A backbone with features (B, hidden size).

    Raises:
        InputError: names or sizes that do not fit together, or ids outside the table of embeddings.
    """
    if kind not in (*_RELATIVE, *_ABSOLUTE):
        raise unknown("encoder-decoder of type", kind, (*_RELATIVE, *_ABSOLUTE))
    if not isinstance(input, TextInput):
        raise InputError(
            f"backbone.input is for {input.kind}, '{kind}' takes texts: choose input@backbone.input=text or words"
        )
    config = _configured(input, kind, origin, architecture)
    net = built(config, attention)
    net.decoder = None
    _set_places(net.encoder, kind)
    stages = _relative(net) if kind in _RELATIVE else _absolute(net)
    stages.append(Stage("pool", [pooled_by(pooling)]))

    def library(value: Seq) -> Any:
        states = net.encoder(input_ids=value.h, attention_mask=value.mask.long()).last_hidden_state
        return pooled_by(pooling)(net, Seq(states, value.mask))

    backbone = Backbone(net, stages, config.hidden_size, kind, ignored=["decoder"], tail="pool")
    check_chain(backbone, library, input.example(2))
    return backbone


def decoder(backbone: Backbone) -> Any:
    """A new decoder with its output layer: the library's net for writing, without the encoder.

    It has a table of embeddings of its own. Where the published net has one table for both sides, they start equal and
    train apart, as a stage's parameters are no head's.

    Args:
        backbone: of `encoder`.

    Raises:
        InputError: it is none.
    """
    config = getattr(backbone.net, "config", None)
    if not isinstance(config, PretrainedConfig) or not config.is_encoder_decoder:
        raise InputError(
            f"backbone '{backbone.name}' is no encoder-decoder, and task=translation needs one: choose backbone=t5, "
            "bart or marian"
        )
    writer = _writers.from_config(
        config, attn_implementation=config._attn_implementation or "sdpa", dtype=torch.float32
    )
    body = writer.model if hasattr(writer, "model") else writer
    body.encoder = _Elsewhere()
    _set_places(body.decoder, config.model_type)
    return writer


class _Elsewhere(nn.Module):
    """In place of the encoder: the library asks only for the name of its input."""

    main_input_name = "input_ids"


def fill(writer: Any, origin: str) -> None:
    """Load what an origin has of a decoder, strictly.

    Args:
        writer: of `decoder`; changed in place.
        origin: the backbone's own: `hub:PLACE`, a file of transformers, or the weights of one of our runs.

    Raises:
        InputError: it has no decoder, or one of another architecture.
    """
    place = origin.removeprefix("hub:")
    try:
        state = published(writer, place) if place != origin else _from_file(writer, origin)
    except InputError as error:
        raise InputError(f"{error}; task.decoder=new trains a new decoder on this encoder") from error
    writer.load_state_dict(state)


def _from_file(writer: Any, origin: str) -> Mapping[str, Tensor]:
    state, wanted = read_tensors(Path(origin)), writer.state_dict()
    if not any(key.startswith(("backbone.", "head.")) for key in state):
        return renamed(writer, state, origin)
    own = {key.removeprefix(_HEAD): value for key, value in state.items() if key.startswith(_HEAD)}
    if own.keys() != wanted.keys() or any(own[key].shape != wanted[key].shape for key in wanted):
        raise InputError(f"{origin} is of a run that trained no such decoder")
    return own


def _configured(input: TextInput, kind: str, origin: str | None, architecture: Mapping[str, Any]) -> Config:
    """The architecture; one of no published origin gets the tables and marks that the tokenizer needs."""
    rows = max(input.vocabulary, input.end + 1)
    table = {"vocab_size": rows, "pad_token_id": input.padding, "eos_token_id": input.end} if origin is None else {}
    if kind == "marian" and origin is None:
        table |= {"decoder_vocab_size": rows, "decoder_start_token_id": input.padding}
    config = configured(kind, origin, table | dict(architecture))
    if config.num_hidden_layers < 1:
        raise InputError(f"backbone.architecture: {config.num_hidden_layers} layers of the encoder; at least 1")
    if rows > config.vocab_size:
        raise InputError(
            f"backbone.input.tokenizer={input.tokenizer} has ids up to {rows - 1}, the net's table of embeddings has "
            f"{config.vocab_size} rows: choose the tokenizer that the net was published with"
        )
    if kind in _ABSOLUTE and input.max_length > config.max_position_embeddings:
        raise InputError(
            f"backbone.input.max_length={input.max_length}: this net knows {config.max_position_embeddings} places; "
            "take at most that"
        )
    if origin is None or getattr(config, "decoder_start_token_id", None) is None:
        config.decoder_start_token_id = input.padding
    return config


def _set_places(stack: Any, kind: str) -> None:
    """Keep Marian's sines of places from being a parameter: computed, in no published file, they never train."""
    if kind == "marian":
        sines = stack.embed_positions.weight.detach()
        del stack.embed_positions.weight
        stack.embed_positions.register_buffer("weight", sines, persistent=False)


def _relative(net: Any) -> list[Stage]:
    paths = [f"encoder.block.{number}" for number in range(len(net.encoder.block))]
    owns = ["shared", "encoder.embed_tokens", "encoder.dropout"]
    return [
        Stage("embeddings", [_words], owns=owns),
        *blocks(paths, _relative_block, ["encoder.final_layer_norm", _last_dropout]),
    ]


def _absolute(net: Any) -> list[Stage]:
    paths = [f"encoder.layers.{number}" for number in range(len(net.encoder.layers))]
    tables = ["encoder.embed_tokens", "encoder.embed_positions", "encoder.layernorm_embedding", "shared"]
    return [
        Stage("embeddings", [_words_and_places], owns=[path for path in tables if _has(net, path)]),
        *blocks(paths, _absolute_block, []),
    ]


def _has(net: nn.Module, path: str) -> bool:
    return any(path == name for name, _ in net.named_modules())


def _words(net: Any, value: Seq) -> Seq:
    return Seq(net.encoder.dropout(net.encoder.embed_tokens(value.h)), value.mask)


def _relative_block(net: Any, value: Seq, path: str) -> Seq:
    steps = value.h.shape[1]
    bias = net.encoder.block[0].layer[0].SelfAttention.compute_bias(steps, steps, device=value.h.device)
    mask = latest.of(net, value, create_bidirectional_mask)
    return Seq(net.get_submodule(path)(value.h, mask, bias)[0], value.mask)


def _last_dropout(net: Any, value: Seq) -> Seq:
    """The library calls the module of the embeddings again, which is frozen with those and not with the last block."""
    return Seq(functional.dropout(value.h, net.encoder.dropout.p, net.encoder.final_layer_norm.training), value.mask)


def _words_and_places(net: Any, value: Seq) -> Seq:
    """What stands before the blocks of BART, and of Marian, which has a scale of its own and no norm."""
    stack, kind = net.encoder, net.config.model_type
    words = stack.embed_tokens(value.h)
    if kind == "marian":
        h = words * stack.embed_scale + stack.embed_positions(value.h.shape)
    else:
        h = stack.layernorm_embedding(words + stack.embed_positions(value.h))
    return Seq(functional.dropout(h, stack.dropout, stack.embed_tokens.training), value.mask)


def _absolute_block(net: Any, value: Seq, path: str) -> Seq:
    """A layer, left out at random in training where the net has LayerDrop (Fan et al. 2020), as the library does."""
    share = net.encoder.layerdrop
    if share > 0 and net.get_submodule(path).training and torch.rand([]) < share:
        return value
    return through_block(net, value, path, create_bidirectional_mask)
