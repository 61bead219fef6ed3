"""Weights into a backbone: from a library's own, a hub, a package or a file. Nothing is read that could run code."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from transferlab.backbones import cifar, packages, timm
from transferlab.backbones.base import Backbone
from transferlab.backbones.fitted import fitted
from transferlab.backbones.two_tower import Towers
from transferlab.errors import InputError, unknown

_WRAPPERS = ("module.", "backbone.", "net.")
_OLD_DENSE_LAYER = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")
_COUNTER = ".num_batches_tracked"


def load(backbone: Backbone, origin: str) -> None:
    """Load weights into the whole backbone, strictly.

    torchvision's weights for colour images also go into a net for other channels, and its position embeddings into one
    for another image size (`fitted`); timm fits its own; those of a hub must have the net's own.

    Args:
        backbone: is changed in place.
        origin: `torchvision:NAME` with a name of the enum of this net's weights (or `DEFAULT`); `timm:TAG` (or
            `DEFAULT`); `hub:PLACE` with a hub id, a folder or `package:NAME/FOLDER` for a net of transformers;
            `package:NAME` or `package:NAME/FILE` for weights in an installed Python package; `cifar_resnets:FOLDER`;
            `towers:IMAGE|TEXT` with an origin for each tower of a net of two; else a file: `.safetensors`, or one
            written by `torch.save` that holds tensors alone.

    Raises:
        InputError: no such weights or file, a file with code in it, weights of another architecture, or numbers that
            are none.
    """
    if origin.startswith("towers:"):
        return _into_towers(backbone, origin.removeprefix("towers:"))
    _insert(backbone, _state(backbone, origin), origin)
    backbone.origin = origin


def classifier(backbone: Backbone, origin: str) -> nn.Linear | None:
    """The classifier that an origin's net had on its features, where it has one linear layer there.

    Args:
        backbone: that the origin's weights fit; it stays as it is.
        origin: as for `load`; a file may be that of a run of ours, whose head then is meant.

    Returns:
        A layer from the features to the origin's outputs; None where there is none.
    """
    if origin.startswith("towers:"):
        return None
    state = {key.removeprefix("module."): value for key, value in _state(backbone, origin).items()}
    prefixes = tuple(f"{path}." for path in (*backbone.ignored, "head"))
    found = [key for key, value in state.items() if key.startswith(prefixes) and _fits(key, value, backbone)]
    if len(found) != 1:
        return None
    weight, bias = state[found[0]], state.get(f"{found[0].removesuffix('weight')}bias")
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.load_state_dict({"weight": weight, **({} if bias is None else {"bias": bias})})
    return layer


def _fits(key: str, value: Tensor, backbone: Backbone) -> bool:
    return key.endswith(".weight") and value.ndim == 2 and value.shape[1] == backbone.features


def _state(backbone: Backbone, origin: str) -> dict[str, Tensor]:
    """All tensors of an origin, under the names that the backbone's net has for them."""
    match origin.partition(":"):
        case ("torchvision", ":", name):
            return _from_torchvision(backbone.name, name)
        case ("timm", ":", tag):
            return timm.pretrained(backbone, tag)
        case ("hub", ":", place):
            return _from_transformers(backbone, place)
        case ("package", ":", name):
            return _from_package(backbone, name)
        case ("cifar_resnets", ":", folder):
            return read_tensors(cifar.published(backbone, Path(folder)))
    return _translated(backbone, read_tensors(Path(origin)), origin)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name; a mapping under `state_dict` or `model` is unpacked.

    Raises:
        InputError: no such file, or it holds more than tensors and could run code when read.
    """
    if not path.is_file():
        raise InputError(f"source.weights={path}: there is no such file")
    try:
        loaded: Any = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise nearly anything
        raise _refused(path, error) from error
    for key in ("state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in loaded.items()
    ):
        raise InputError(f"{path} holds no state_dict (a mapping of names to tensors)")
    return dict(loaded)


def _refused(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path} is refused: it is damaged, or holds more than tensors and could run code ({type(error).__name__}); "
        "save its state_dict alone, or as .safetensors"
    )


def _from_torchvision(name: str, weights: str) -> dict[str, Tensor]:
    from torchvision.models import get_model_weights, list_models

    if name not in list_models():
        raise InputError(f"source.weights=torchvision:{weights}: torchvision has no weights for backbone '{name}'")
    enum = get_model_weights(name)
    if weights not in enum.__members__:
        raise unknown(f"weights of {name}", weights, enum.__members__)
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(enum[weights].url).name
    try:
        state: dict[str, Tensor] = enum[weights].get_state_dict(progress=False, check_hash=True, weights_only=True)
    except URLError as error:
        raise InputError(f"cannot download {enum[weights].url} ({error}); put the file into {file.parent}") from error
    except Exception as error:
        raise _refused(file, error) from error
    return state


def _from_transformers(backbone: Backbone, place: str) -> dict[str, Tensor]:
    if not _is_of_transformers(backbone):
        raise InputError(
            f"source.weights=hub:{place} is for nets of transformers, backbone '{backbone.name}' is none: "
            "choose another source, or such a backbone"
        )
    if place == "None":  # what the yaml of source=hub makes of an origin that is null
        raise InputError("source=hub has the weights of backbone.origin, which is not given: name a hub id or a folder")
    from transferlab.backbones.huggingface.base import published

    return published(backbone.net, place)


def _translated(backbone: Backbone, state: dict[str, Tensor], origin: str) -> dict[str, Tensor]:
    """The tensors under the net's own keys, where transformers saved them under those of a model with a head."""
    if not _is_of_transformers(backbone) or any(key.startswith(_WRAPPERS) for key in state):
        return state
    from transferlab.backbones.huggingface.base import renamed

    return renamed(backbone.net, state, origin)


def _is_of_transformers(backbone: Backbone) -> bool:
    return hasattr(backbone.net, "base_model_prefix")  # known without an import that takes a second


def _into_towers(backbone: Backbone, origins: str) -> None:
    if not isinstance(backbone.net, Towers):
        raise InputError(f"source.weights=towers:... is for backbone=two_tower, this one is '{backbone.name}'")
    if origins.count("|") != 1:
        raise InputError(f"source.weights=towers:{origins}: the origin of the images' tower, |, and that of the texts'")
    for tower, origin in zip((backbone.net.image, backbone.net.text), origins.split("|"), strict=True):
        if origin != "None":  # what the yaml of source=two_tower makes of null: the tower stays random
            load(tower, origin)


def _from_package(backbone: Backbone, name: str) -> dict[str, Tensor]:
    state = read_tensors(packages.weights_file(name))
    return packages.in_timms_words(backbone, state) if name.partition("/")[0] == packages.LITE0 else state


def _insert(backbone: Backbone, state: Mapping[str, Tensor], origin: str) -> None:
    wanted = backbone.net.state_dict()
    given = {_current(_unwrapped(key, wanted)): value for key, value in state.items()}
    # a tensor of the net stays, though its name begins like that of a head: ConvNeXts of timm have a `head.norm`
    given = {key: value for key, value in given.items() if key in wanted or not _is_ignored(key, backbone)}
    given = _counted(fitted(backbone.net, given), wanted)
    missing = [key for key in wanted if key not in given]
    extra = [key for key in given if key not in wanted]
    shapes = [key for key in wanted if key in given and wanted[key].shape != given[key].shape]
    # of our own runs that kept their adapter alone
    hint = "; a run with an adapter keeps them with strategy.adapter.save=merged" if missing else ""
    for problem, keys in (("lacks", missing), ("has besides", extra), ("has in another shape", shapes)):
        if keys:
            raise InputError(
                f"{origin} is of another architecture than backbone '{backbone.name}': "
                f"it {problem} {len(keys)} of {len(wanted)} tensors, e.g. {keys[0]}{hint}"
            )
    if empty := [key for key, value in given.items() if not value.isfinite().all()]:
        raise InputError(f"{origin} has NaN or infinite numbers in {len(empty)} tensors, e.g. {empty[0]}")
    backbone.net.load_state_dict(given)


def _unwrapped(key: str, wanted: Mapping[str, Tensor]) -> str:
    """The key without the prefixes that wrappers put before it."""
    while key not in wanted and key.startswith(_WRAPPERS):
        key = key.partition(".")[2]
    return key


def _current(key: str) -> str:
    """The key as torchvision's DenseNets name it today; the files that it publishes keep an older name."""
    return _OLD_DENSE_LAYER.sub(r"\1\2", key)


def _counted(given: dict[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """With BatchNorm's counters at zero where a file has none: those from before torch 0.4.1 have none."""
    layers = (key.removesuffix(_COUNTER) for key in wanted if key.endswith(_COUNTER))
    return {f"{layer}{_COUNTER}": torch.tensor(0) for layer in layers if f"{layer}.running_var" in given} | given


def _is_ignored(key: str, backbone: Backbone) -> bool:
    """Whether the tensor is of a classifier: the library's, or the head of one of our own runs."""
    return any(f"{key}.".startswith(f"{prefix}.") for prefix in (*backbone.ignored, "head"))
