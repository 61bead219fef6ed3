"""Weights into a backbone: from torchvision's enum or a local file. Nothing is read that could run code."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from safetensors.torch import load_file
from torch import Tensor

from transferlab.backbones.base import Backbone
from transferlab.errors import InputError, unknown

_WRAPPERS = ("module.", "backbone.", "net.")


def load(backbone: Backbone, origin: str) -> None:
    """Load weights into the whole backbone, strictly.

    Args:
        backbone: is changed in place.
        origin: `torchvision:NAME` with a name of the enum of this net's weights (or `DEFAULT`), else a file:
            `.safetensors`, or one written by `torch.save` that holds tensors alone.

    Raises:
        InputError: no such weights or file, a file with code in it, or weights of another architecture.
    """
    library = origin.removeprefix("torchvision:")
    state = _from_torchvision(backbone.name, library) if library != origin else read_tensors(Path(origin))
    _insert(backbone, state, origin)


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


def _insert(backbone: Backbone, state: Mapping[str, Tensor], origin: str) -> None:
    wanted = backbone.net.state_dict()
    given = {_unwrapped(key, wanted): value for key, value in state.items()}
    given = {key: value for key, value in given.items() if not _is_ignored(key, backbone)}
    missing = [key for key in wanted if key not in given]
    extra = [key for key in given if key not in wanted]
    shapes = [key for key in wanted if key in given and wanted[key].shape != given[key].shape]
    for problem, keys in (("lacks", missing), ("has besides", extra), ("has in another shape", shapes)):
        if keys:
            raise InputError(
                f"{origin} is of another architecture than backbone '{backbone.name}': "
                f"it {problem} {len(keys)} of {len(wanted)} tensors, e.g. {keys[0]}"
            )
    backbone.net.load_state_dict(given)


def _unwrapped(key: str, wanted: Mapping[str, Tensor]) -> str:
    """The key without the prefixes that wrappers put before it."""
    while key not in wanted and key.startswith(_WRAPPERS):
        key = key.partition(".")[2]
    return key


def _is_ignored(key: str, backbone: Backbone) -> bool:
    """Whether the tensor is of a classifier: the library's, or the head of one of our own runs."""
    return any(key.startswith(f"{prefix}.") for prefix in (*backbone.ignored, "head"))
