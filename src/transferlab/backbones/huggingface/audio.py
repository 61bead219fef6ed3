"""Nets for sound: wav2vec 2.0 and HuBERT, which take waves, and AST, which takes spectra."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers.masking_utils import create_bidirectional_mask

from transferlab.backbones.base import Backbone
from transferlab.backbones.checking import check_chain
from transferlab.backbones.glue import chosen_pooling, step_mean
from transferlab.backbones.huggingface.base import Config, built, configured
from transferlab.backbones.huggingface.stages import blocks, unmasked
from transferlab.backbones.stages import Glue, Stage
from transferlab.errors import InputError, unknown
from transferlab.inputs.audio import MelInput, WaveInput
from transferlab.inputs.base import Input
from transferlab.values import Seq, masked_mean

_WAVE_NETS = ("wav2vec2", "hubert")
_AST = "audio-spectrogram-transformer"


def waves(
    input: Input, kind: str, origin: str | None, architecture: Mapping[str, Any] | None, attention: str
) -> Backbone:
    """wav2vec 2.0 (Baevski et al. 2020) or HuBERT (Hsu et al. 2021): stages `convolutions, embeddings, block0.., pool`.

    `convolutions` makes frames of 20 ms from the wave, `embeddings` projects them, masks some of them in training
    (SpecAugment) and adds their places, `pool` takes the mean of the real frames. Blocks are left out at random in
    training (LayerDrop). Both happen only where their own stage trains.

    The first convolution is followed by one of two norms, and the library treats padding accordingly. With
    `feat_extract_norm: layer` (the large nets) no frame sees the padding: the features of a recording do not depend on
    the batch. With `group` (the base nets) the norm runs over the whole padded wave and attention is not masked, as in
    pretraining: features depend a little on how long the longest recording of the batch is. Pooling leaves out the
    padding in both.

    Args:
        input: waves.
        kind: `wav2vec2` or `hubert`.
        origin: whose architecture it has: a hub id, a folder or `package:NAME/FOLDER`; None: the type's base.
        architecture: what differs from that.
        attention: `sdpa` or `eager`.

    Returns:
        A backbone with features (B, hidden size).

    Raises:
        InputError: names or sizes that do not fit together.
    """
    if kind not in _WAVE_NETS:
        raise unknown("net for waves of type", kind, _WAVE_NETS)
    if not isinstance(input, WaveInput):
        raise InputError(f"backbone.input is for {input.kind}, '{kind}' takes waves: choose input@backbone.input=wave")
    config = configured(kind, origin, architecture)
    if getattr(config, "add_adapter", False):
        raise InputError("backbone.architecture.add_adapter=true: nets with an adapter behind them are not supported")
    net = built(config, attention)
    paths = [f"encoder.layers.{number}" for number in range(config.num_hidden_layers)]
    stages = [
        Stage("convolutions", [_convolved], owns=["feature_extractor"]),
        Stage("embeddings", [_projected, _placed], owns=_owned_by_embeddings(net)),
        *blocks(paths, _block, ["encoder.layer_norm"] if config.do_stable_layer_norm else []),
        Stage("pool", [step_mean]),
    ]
    backbone = Backbone(net, stages, config.hidden_size, kind, tail="pool")
    check_chain(backbone, partial(_library, net), input.example(2))
    return backbone


def _owned_by_embeddings(net: Any) -> list[str]:
    paths = ["feature_projection", "encoder.pos_conv_embed", "encoder.dropout"]
    if hasattr(net, "masked_spec_embed"):
        paths.append("masked_spec_embed")
    if not net.config.do_stable_layer_norm:  # else it stands behind the last block
        paths.append("encoder.layer_norm")
    return paths


def _library(net: Any, value: Seq) -> Tensor:
    """The library's own forward, and the mean of the real frames."""
    wave = _at_least_a_frame(net.config, value)
    states = net(wave.h, attention_mask=wave.mask if _masks(net.config) else None).last_hidden_state
    return masked_mean(Seq(states, net._get_feature_vector_attention_mask(states.shape[1], wave.mask)))


def _masks(config: Config) -> bool:
    """Whether the net was trained with masks."""
    norm: str = config.feat_extract_norm
    return norm == "layer"


def _at_least_a_frame(config: Config, wave: Seq) -> Seq:
    """Waves that are too short for the convolutions, lengthened by silence."""
    least = 1
    for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
        least = (least - 1) * stride + kernel
    missing = max(0, least - wave.h.shape[1])
    h, mask = (nn.functional.pad(part, (0, missing)) for part in wave)
    return Seq(h, mask | (torch.arange(h.shape[1], device=h.device) < least))


def _convolved(net: Any, value: Seq) -> Seq:
    """Frames (B, T', C), and which of them are real by the library's own formula."""
    wave = _at_least_a_frame(net.config, value)
    frames = net.feature_extractor(wave.h).transpose(1, 2)
    return Seq(frames, net._get_feature_vector_attention_mask(frames.shape[1], wave.mask))


def _projected(net: Any, value: Seq) -> Seq:
    """Hidden states; in training some frames are replaced by a learned vector (SpecAugment)."""
    found = net.feature_projection(value.h)
    h = found[0] if isinstance(found, tuple) else found
    # the library refuses batches that are shorter than one span of its masks
    if net.feature_projection.training and h.shape[1] >= net.config.mask_time_length:
        # HuBERT's own forward lets the spans lie in the padding too
        seen = value.mask if _masks(net.config) and net.config.model_type == "wav2vec2" else None
        h = net._mask_hidden_states(h, attention_mask=seen)
    return Seq(h, value.mask)


def _placed(net: Any, value: Seq) -> Seq:
    """With their places, which a wide convolution finds."""
    h = value.h.masked_fill(~value.mask[..., None], 0) if _masks(net.config) else value.h
    h = h + net.encoder.pos_conv_embed(h)
    if not net.config.do_stable_layer_norm:
        h = net.encoder.layer_norm(h)
    return Seq(net.encoder.dropout(h), value.mask)


def _block(net: Any, value: Seq, path: str) -> Seq:
    layer, config = net.get_submodule(path), net.config
    if layer.training and config.layerdrop > 0 and torch.rand([]) < config.layerdrop:
        return value
    mask = create_bidirectional_mask(config, value.h, value.mask) if _masks(config) else None
    return Seq(layer(value.h, attention_mask=mask), value.mask)


def ast(
    input: Input, origin: str | None, architecture: Mapping[str, Any] | None, pooling: str, attention: str
) -> Backbone:
    """AST, the Audio Spectrogram Transformer (Gong et al. 2021): stages `embeddings, block0.., pool`.

    Stages give tokens (B, 2 + f * t, D): the class token, the distillation token, and the patches of f rows of bands
    and t columns of frames. The last norm is the last block's end.

    Args:
        input: spectra as images.
        origin: whose architecture it has: a hub id, a folder or `package:NAME/FOLDER`; None: the base, for spectra of
            the input's size.
        architecture: what differs from that.
        pooling: `cls`, the mean of class token and distillation token, as published; `mean` of the patches.
        attention: `sdpa` or `eager`.

    Returns:
        A backbone with features (B, D).

    Raises:
        InputError: names or sizes that do not fit together.
    """
    if not isinstance(input, MelInput):
        raise InputError(f"backbone.input is for {input.kind}, AST takes spectra: choose input@backbone.input=log_mel")
    pool = chosen_pooling(pooling, _POOLINGS)
    _, bands, frames = input.shape
    fitted = {"num_mel_bins": bands, "max_length": frames} if origin is None else {}
    config = configured(_AST, origin, {**fitted, **(architecture or {})})
    _check_spectrum(bands, frames, config)
    backbone = _spectral(built(config, attention), pool)
    _check_short(config, pool, attention, input)
    return backbone


def _check_spectrum(bands: int, frames: int, config: Config) -> None:
    if (bands, frames) != (config.num_mel_bins, config.max_length):
        raise InputError(
            f"backbone.input gives {bands} bands and {frames} frames, this net takes {config.num_mel_bins} and "
            f"{config.max_length}: choose input@backbone.input=ast, or another origin"
        )
    if min(bands, frames) < config.patch_size:
        raise InputError(
            f"backbone.input gives {bands} bands and {frames} frames, fewer than the {config.patch_size} of a patch; "
            "set backbone.input.bands and seconds, or backbone.architecture.patch_size"
        )


def _spectral(net: Any, pool: Glue) -> Backbone:
    config = net.config
    stages = [
        Stage("embeddings", [_frames_first, "embeddings"]),
        *blocks([f"layers.{number}" for number in range(config.num_hidden_layers)], unmasked, ["layernorm"]),
        Stage("pool", [pool]),
    ]
    return Backbone(net, stages, config.hidden_size, "ast", tail="pool", grid=_maps)


def _check_short(config: Config, pool: Glue, attention: str, input: MelInput) -> None:
    """Check the chain on two columns of patches: the published nets' 1,024 frames would take a minute."""
    frames = min(config.max_length, config.patch_size + config.time_stride)
    with torch.random.fork_rng(devices=[]):
        net = built(type(config).from_dict({**config.to_dict(), "max_length": frames}), attention)
    library = partial(_library_of_spectra, net, pool)
    check_chain(_spectral(net, pool), library, input.example(2)[..., :frames])


def _library_of_spectra(net: Any, pool: Glue, x: Tensor) -> Tensor:
    found = net(_frames_first(net, x))
    features: Tensor = found.pooler_output if pool is _both_tokens else _mean_of_patches(net, found.last_hidden_state)
    return features


def _frames_first(net: nn.Module, x: Tensor) -> Tensor:
    """From an image (B, 1, bands, frames) to what the library takes, (B, frames, bands)."""
    return x[:, 0].transpose(1, 2)


def _both_tokens(net: nn.Module, x: Tensor) -> Tensor:
    return (x[:, 0] + x[:, 1]) / 2


def _mean_of_patches(net: nn.Module, x: Tensor) -> Tensor:
    return x[:, 2:].mean(1)


def _maps(net: Any, x: Tensor) -> Tensor:
    """Tokens without the first two, as maps (B, D, f, t)."""
    patches = x[:, 2:].transpose(1, 2)
    return patches.reshape(*patches.shape[:2], *net.embeddings.get_shape(net.config))


_POOLINGS: Mapping[str, Glue] = {"cls": _both_tokens, "mean": _mean_of_patches}
