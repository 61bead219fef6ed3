"""Encoders and decoders for text: token ids in, hidden states along the chain, one vector a text out."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from transformers.masking_utils import create_bidirectional_mask, create_causal_mask

from transferlab.backbones.base import Backbone
from transferlab.backbones.checking import check_chain
from transferlab.backbones.glue import chosen_pooling, step_mean
from transferlab.backbones.huggingface.base import Config, built, configured
from transferlab.backbones.stages import Glue, Stage
from transferlab.errors import InputError, unknown
from transferlab.inputs.base import Input
from transferlab.inputs.text import TextInput
from transferlab.values import Seq

Conversion: TypeAlias = Callable[[Config, Tensor, Tensor], Any]

_LAYERS = {
    "bert": "encoder.layer",
    "roberta": "encoder.layer",
    "xlm-roberta": "encoder.layer",
    "camembert": "encoder.layer",
    "distilbert": "transformer.layer",
}


def encoder(
    input: Input, kind: str, origin: str | None, architecture: Mapping[str, Any] | None, pooling: str, attention: str
) -> Backbone:
    """BERT (Devlin et al. 2019, https://arxiv.org/abs/1810.04805) and its kin: stages `embeddings, block0.., pool`.

    Every token sees every real token of its text. All tokens belong to segment 0, pairs of texts as well. The dense
    layer that some of them were published with behind the first token is left out.

    Args:
        input: token ids.
        kind: `bert`, `roberta`, `xlm-roberta`, `camembert` or `distilbert`.
        origin: whose architecture it has: a hub id, a folder or `package:NAME/FOLDER`; None: the type's base.
        architecture: what differs from that, by the type's own keys.
        pooling: `cls`, the first token; `mean` of the real tokens; `last` real token.
        attention: `sdpa` or `eager`.

    Returns:
        A backbone with features (B, hidden size).

    Raises:
        InputError: names or sizes that do not fit together, or ids outside the table of embeddings.
    """
    if kind not in _LAYERS:
        raise unknown("encoder of type", kind, _LAYERS)
    net = _net(input, kind, origin, architecture, attention)
    net.pooler = None
    paths = [f"{_LAYERS[kind]}.{number}" for number in range(net.config.num_hidden_layers)]
    blocks = [[partial(through_block, path=path, convert=create_bidirectional_mask)] for path in paths]
    stages = [
        Stage("embeddings", [_embeddings], owns=["embeddings"]),
        *(Stage(f"block{n}", block, owns=[path]) for n, (path, block) in enumerate(zip(paths, blocks, strict=True))),
        Stage("pool", [pooled_by(pooling)]),
    ]
    return _checked(net, stages, kind, pooling, input)


def decoder(
    input: Input, kind: str, origin: str | None, architecture: Mapping[str, Any] | None, pooling: str, attention: str
) -> Backbone:
    """GPT-2 (Radford et al. 2019): stages `embeddings, block0.., pool`; the last block holds the final norm.

    A token sees those before it, so the last real token alone has seen the whole text.

    Args:
        input: token ids.
        kind: `gpt2`.
        origin: as for `encoder`.
        architecture: likewise.
        pooling: likewise; `last` suits it.
        attention: likewise.

    Returns:
        A backbone with features (B, hidden size).

    Raises:
        InputError: as `encoder`.
    """
    if kind != "gpt2":
        raise unknown("decoder of type", kind, ["gpt2"])
    net = _net(input, kind, origin, architecture, attention)
    paths = [f"h.{number}" for number in range(net.config.num_hidden_layers)]
    blocks: list[list[str | Glue]] = [[partial(through_block, path=path, convert=_causal)] for path in paths]
    blocks[-1].append("ln_f")
    stages = [
        Stage("embeddings", [_word_and_place, "drop"], owns=["wte", "wpe"]),
        *(Stage(f"block{n}", block, owns=[path]) for n, (path, block) in enumerate(zip(paths, blocks, strict=True))),
        Stage("pool", [pooled_by(pooling)]),
    ]
    return _checked(net, stages, kind, pooling, input)


def _net(input: Input, kind: str, origin: str | None, architecture: Mapping[str, Any] | None, attention: str) -> Any:
    """The library's net; one of no published origin gets the table of embeddings that the tokenizer needs."""
    if not isinstance(input, TextInput):
        raise InputError(
            f"backbone.input is for {input.kind}, '{kind}' takes texts: choose input@backbone.input=text or words"
        )
    table = {"vocab_size": input.vocabulary, "pad_token_id": input.padding} if origin is None else {}
    config = configured(kind, origin, table | dict(architecture or {}))
    if config.num_hidden_layers < 1:
        raise InputError(f"backbone.architecture.num_hidden_layers={config.num_hidden_layers}: at least 1")
    _check_table(input, config)
    return built(config, attention)


def _check_table(input: TextInput, config: Config) -> None:
    """Whether every id of the tokenizer has a row, and every place in a text."""
    if input.vocabulary > config.vocab_size:
        raise InputError(
            f"backbone.input.tokenizer={input.tokenizer} has ids up to {input.vocabulary - 1}, the net's table of "
            f"embeddings has {config.vocab_size} rows: choose the tokenizer that the net was published with"
        )
    places = config.max_position_embeddings
    if "roberta" in config.model_type or config.model_type == "camembert":
        places -= config.pad_token_id + 1  # their places are counted from behind the padding's id
    if input.max_length > places:
        raise InputError(
            f"backbone.input.max_length={input.max_length}: this net knows {places} places; take at most that"
        )


def _checked(net: Any, stages: list[Stage], kind: str, pooling: str, input: Input) -> Backbone:
    def library(value: Seq) -> Tensor:
        states = net(input_ids=value.h, attention_mask=value.mask.long()).last_hidden_state
        pooled: Tensor = pooled_by(pooling)(net, Seq(states, value.mask))
        return pooled

    backbone = Backbone(net, stages, net.config.hidden_size, kind, tail="pool")
    check_chain(backbone, library, input.example(2))
    return backbone


def _embeddings(net: Any, value: Seq) -> Seq:
    return Seq(net.embeddings(input_ids=value.h), value.mask)


def _word_and_place(net: Any, value: Seq) -> Seq:
    places = torch.arange(value.h.shape[1], device=value.h.device)
    return Seq(net.wte(value.h) + net.wpe(places), value.mask)


def through_block(net: nn.Module, value: Seq, path: str, convert: Conversion) -> Seq:
    """Glue: the layer at `path`, with the mask as `convert` makes it for the library's attention."""
    mask = latest.of(net, value, convert)
    return Seq(net.get_submodule(path)(value.h, attention_mask=mask), value.mask)


def _causal(config: Config, states: Tensor, mask: Tensor) -> Any:
    return create_causal_mask(config, states, mask, past_key_values=None)


class _Latest:
    """The mask of attention that was built last: all blocks of a pass need the same one, made of the batch's own."""

    def __init__(self) -> None:
        self._of: tuple[Any, ...] = ()
        self._mask: Tensor | None = None

    def of(self, net: Any, value: Seq, convert: Conversion) -> Tensor | None:
        """The mask (B, 1, T, T) of a batch's (B, T) as the library's attention takes it; None: nothing is masked."""
        # a kernel that keeps the mask for its backward pass cannot keep one that was made in inference mode
        mode = (convert, net.config._attn_implementation, value.h.dtype, torch.is_inference_mode_enabled())
        if not self._of or self._of[0] is not value.mask or self._of[1] != mode:
            self._mask = convert(net.config, value.h, value.mask)
            self._of = (value.mask, mode)
        return self._mask


latest = _Latest()


def _first(net: nn.Module, value: Seq) -> Tensor:
    return value.h[:, 0]


def _last(net: nn.Module, value: Seq) -> Tensor:
    """The last real token; padding stands on the right."""
    return value.h[torch.arange(len(value.h), device=value.h.device), value.mask.sum(1) - 1]


_POOLINGS: Mapping[str, Glue] = {"cls": _first, "mean": step_mean, "last": _last}


def pooled_by(name: str) -> Glue:
    """Glue from the states of all tokens to one vector a text: `cls`, `mean` or `last`.

    Raises:
        InputError: another name.
    """
    return chosen_pooling(name, _POOLINGS)
