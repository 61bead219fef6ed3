"""Architectures and weights of transformers: from the hub, a folder or a package. No code of others is run."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor
from transformers import CONFIG_MAPPING, AutoModel, PretrainedConfig
from transformers.utils import logging as _library_logging

from transferlab.errors import InputError, nearest, unknown
from transferlab.inputs.origins import first_line, located

Config: TypeAlias = PretrainedConfig
ATTENTION = ("sdpa", "eager")

# these are untyped, in a library that says it is typed
_nets: Any = AutoModel
_logging: Any = _library_logging


def configured(kind: str, origin: str | None, architecture: Mapping[str, Any] | None) -> Config:
    """The architecture of a net.

    Args:
        kind: the type's name in transformers, e.g. `bert`, `wav2vec2`, `clip_vision_model`.
        origin: a hub id, a folder, or `package:NAME/FOLDER`, whose `config.json` is read; None: the type's published
            base architecture, which transformers knows without a download.
        architecture: what differs from that, by the type's own keys, e.g. `num_hidden_layers`.

    Raises:
        InputError: no such origin, one of another type, a key that the type has not, or values that do not fit.
    """
    if kind not in CONFIG_MAPPING:
        raise InputError(f"transformers has no net of type '{kind}'{nearest(kind, CONFIG_MAPPING)}")
    family, architecture = CONFIG_MAPPING[kind], architecture or {}
    _check_keys(kind, family(), architecture)
    if origin is not None:
        _check_kind(kind, origin, "backbone.origin")
    try:
        with _quiet():
            if origin is None:
                return family(**architecture)
            return family.from_pretrained(located(origin), **architecture)
    except Exception as error:  # transformers checks values each in its own way
        raise InputError(f"backbone.architecture={dict(architecture)}: {first_line(error)}") from error


def built(config: Config, attention: str) -> Any:
    """A net of random weights, float32.

    Args:
        config: its architecture.
        attention: `sdpa`, torch's fused attention, or `eager`, which computes it step by step.

    Returns:
        transformers' bare model of the type, without a task's head.

    Raises:
        InputError: another attention, or an architecture that cannot be built.
    """
    if attention not in ATTENTION:
        raise unknown("attention", attention, ATTENTION)
    try:
        with _quiet():
            return _nets.from_config(config, attn_implementation=attention, dtype=torch.float32)
    except (ValueError, AssertionError) as error:  # e.g. heads that do not divide the hidden size
        raise InputError(f"backbone.architecture: {first_line(error)}") from error


def published(net: Any, origin: str) -> dict[str, Tensor]:
    """The published weights of a net's architecture, under the net's own keys.

    transformers reads the file (safetensors, or a pickle of tensors alone), takes off the prefixes that models with a
    head put before their keys, and renames what older versions named otherwise. Heads are left out.

    Args:
        net: says which tensors are wanted, and is left as it is; with fewer layers than the published net it takes
            the first of them.
        origin: a hub id, a folder, or `package:NAME/FOLDER`.

    Raises:
        InputError: nothing lies there, it is of another type or could run code, or it lacks a tensor or has one in
            another shape.
    """
    _check_kind(net.config.model_type, origin, "source.weights")
    return _read(net, origin, located(origin))


def renamed(net: Any, state: Mapping[str, Tensor], origin: str) -> dict[str, Tensor]:
    """`published`, for tensors that are read already: those of a single file.

    Args:
        net: says which tensors are wanted, and is left as it is.
        state: tensors by name, as transformers saves them.
        origin: of them, for messages.
    """
    return _read(net, origin, None, state_dict=dict(state))


def _read(net: Any, origin: str, place: str | None, **given: Any) -> dict[str, Tensor]:
    try:
        with _quiet():
            other, report = type(net).from_pretrained(
                place,
                config=net.config,
                dtype=torch.float32,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,  # reported below
                output_loading_info=True,
                **given,
            )
    except Exception as error:  # a damaged file can raise nearly anything
        raise _unread("source.weights", origin, error) from error
    state: dict[str, Tensor] = other.state_dict()
    wanted = net.state_dict()
    shapes = {key for key, *_ in report["mismatched_keys"]}
    for problem, keys in (("lacks", report["missing_keys"]), ("has in another shape", shapes)):
        if concerned := sorted(keys & wanted.keys()):
            raise InputError(
                f"{origin} is of another architecture than the backbone: "
                f"it {problem} {len(concerned)} of {len(wanted)} tensors, e.g. {concerned[0]}"
            )
    return {key: state[key] for key in wanted}


def _check_keys(kind: str, published: Config, architecture: Mapping[str, Any]) -> None:
    for key in architecture:
        if not hasattr(published, key):
            raise unknown(f"key of the architecture '{kind}'", key, sorted(published.to_dict()))


def _check_kind(kind: str, origin: str, key: str) -> None:
    """Whether the origin is of the type, or of one that contains it, as `clip` does `clip_vision_model`."""
    try:
        found = PretrainedConfig.get_config_dict(located(origin), trust_remote_code=False)[0].get("model_type")
    except (OSError, ValueError) as error:
        raise _unread(key, origin, error) from error
    if found is None:
        raise InputError(f"{key}={origin} cannot be read: it has no config.json that names the type of its net")
    if found != kind and not kind.startswith(f"{found}_"):
        raise InputError(
            f"{key}={origin} is a net of type '{found}', this backbone is of type '{kind}': choose another"
        )


def _unread(key: str, origin: str, error: Exception) -> InputError:
    if Path(located(origin)).exists():
        return InputError(f"{key}={origin} cannot be read: {first_line(error)}")
    return InputError(
        f"{key}={origin} is no folder here, and the hub does not give it ({first_line(error)}); "
        "download it where there is a connection, and give its folder"
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' table of keys, which speaks of heads, and its progress bar."""
    verbosity, bar = _logging.get_verbosity(), _logging.is_progress_bar_enabled()
    _logging.set_verbosity_error()
    _logging.disable_progress_bar()
    try:
        yield
    finally:
        _logging.set_verbosity(verbosity)
        if bar:
            _logging.enable_progress_bar()
