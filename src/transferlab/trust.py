"""What a config may name as code: a yaml is data, and running it must not run just anything. No torch."""

import os
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from transferlab.errors import InputError

TRUSTED = (
    "transferlab",
    "torch.nn",
    "torch.optim",
    "torchvision.transforms",
    "torchmetrics",
    "pytorch_lightning.Trainer",
    "pytorch_lightning.trainer",
    "pytorch_lightning.callbacks",
    "pytorch_lightning.loggers",
)
_OF_HYDRA = ("hydra", "hydra_plugins", "optuna.samplers", "optuna.pruners")
_VARIABLE = "TRANSFERLAB_TRUST"


def trust(packages: Sequence[str]) -> None:
    """Remember, for this process and those it starts, the packages that the user trusts."""
    os.environ[_VARIABLE] = ",".join(dict.fromkeys(packages))


def check_targets(config: Any, of_hydra: bool = False) -> None:
    """Refuse each `_target_` whose name lies outside the trusted packages.

    Args:
        config: any node.
        of_hydra: whether it is Hydra's own section, which names launchers, sweepers, and how these search.

    Raises:
        InputError: with the key, the target and how to trust it.
    """
    _checked(config, (*TRUSTED, *_trusted_by_user(), *(_OF_HYDRA if of_hydra else ())))


def check_located_targets(config: Any) -> None:
    """Look behind the names: `torch.nn.functional.torch.hub.load` begins like a trusted one and is another.

    Imports what the config names; to be called once it is about to be built.

    Raises:
        InputError: as `check_targets`, or because nothing is found under a name.
    """
    allowed = (*TRUSTED, *_trusted_by_user())
    for key, target in _checked(config, allowed):
        try:
            real = _real(target)
        except Exception as error:
            raise InputError(f"{key}={target} names nothing that can be imported: {error}") from error
        if not _lies_in(real, allowed):
            raise _refusal(key, target, f", which is {real},", allowed)


def _checked(config: Any, allowed: Sequence[str]) -> list[tuple[str, str]]:
    """Key and value of every `_target_` in a config, whose names all lie in packages that are allowed."""
    found = list(_targets(config))
    for key, target in found:
        if not _lies_in(target, allowed):
            raise _refusal(key, target, "", allowed)
    return found


@cache
def _real(target: str) -> str:
    """The name under which what is found under a name was defined."""
    found = get_object(target)
    return f"{getattr(found, '__module__', None)}.{getattr(found, '__qualname__', '')}"


def _refusal(key: str, target: str, real: str, allowed: Sequence[str]) -> InputError:
    return InputError(
        f"{key}={target}{real} is outside the trusted packages ({', '.join(allowed)}); "
        f"if you trust it, say so on the command line: --trust {target.split('.')[0]}"
    )


def _lies_in(name: str, packages: Sequence[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def _targets(config: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Key and value of every `_target_` in a config."""
    if isinstance(config, DictConfig):
        if not config._is_none() and not config._is_missing() and config.get("_target_") is not None:
            yield f"{key}._target_".lstrip("."), str(config["_target_"])
        children: Any = [] if config._is_none() or config._is_missing() or config._is_interpolation() else list(config)
        for name in children:
            yield from _targets(config._get_node(name), f"{key}.{name!s}".lstrip("."))
    elif OmegaConf.is_list(config) and isinstance(config._content, list):
        for index in range(len(config)):
            yield from _targets(config._get_node(index), f"{key}[{index}]")


def _trusted_by_user() -> list[str]:
    return [name for name in os.environ.get(_VARIABLE, "").split(",") if name]
