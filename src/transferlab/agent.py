"""What an agent of W&B Sweeps asks for: its parameters, as words that Hydra reads as W&B meant them. No torch.

The agent writes them into the command as Python prints them, and into a file with their types; where there is the file,
it counts, because W&B notes of the run what stands there.
"""

import ast
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from transferlab import connection
from transferlab.composing import quoted
from transferlab.errors import InputError

_SWEEP, _FILE, _RUN = "WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH", "WANDB_RUN_ID"


def is_there() -> bool:
    """Whether an agent started this process."""
    return bool(os.environ.get(_SWEEP))


def drawn() -> str | None:
    """The id of the W&B run that the agent asked for."""
    return os.environ.get(_RUN)


def words(given: Sequence[str]) -> list[str]:
    """The words of a command line as they are without an agent; with one, its parameters as Hydra writes them.

    Args:
        given: the command line. Parameters that are in the agent's file alone are added to it.

    Raises:
        InputError: it asks for several runs or contradicts the file, or the file cannot be read.
    """
    if not is_there():
        return list(given)
    if {"-m", "--multirun"} & {*given}:
        raise InputError("an agent of W&B Sweeps starts one run a time: leave -m out of the sweep's command")
    parameters = _parameters()
    found: list[str] = []
    rest = dict(parameters)
    for word in given:
        key, equals, text = word.partition("=")
        name = key.lstrip("+")
        if not equals or word.startswith("-"):
            found.append(word)
        elif name not in parameters:
            found.append(_hydras(key, text))
        elif text != str(parameters[name]):
            raise InputError(
                f"{name} is {text} on the command line and {parameters[name]} in the sweep: leave it out of the "
                "sweep's command, or of its parameters"
            )
        else:
            found.extend(_overrides(key, parameters[name]))
            rest.pop(name, None)
    return [*found, *(word for name, value in rest.items() for word in _overrides(name, value))]


@contextmanager
def away() -> Iterator[None]:
    """Within, a W&B run is none of the agent's: a source's own pretraining is no point of the sweep."""
    if not is_there():
        yield
        return
    kept = {name: os.environ.pop(name) for name in (_SWEEP, _FILE, _RUN) if name in os.environ}
    connection.start_over()  # W&B reads its variables once
    try:
        yield
    finally:
        os.environ.update(kept)
        connection.start_over()


def _parameters() -> dict[str, Any]:
    """The agent's parameters by name, with their types; none where it wrote no file."""
    if not (place := os.environ.get(_FILE)):
        return {}
    try:
        found = yaml.safe_load(Path(place).read_text())
        return {str(name): entry["value"] for name, entry in found.items() if name != "wandb_version"}
    except (OSError, ValueError, yaml.YAMLError, AttributeError, TypeError, KeyError) as error:
        raise InputError(f"{_FILE}={place} is no file of a sweep's parameters: start runs by `wandb agent`") from error


def _overrides(key: str, value: Any) -> Iterator[str]:
    """One override, or one for each value below a nested parameter."""
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from _overrides(f"{key}.{name}", item)
    else:
        yield f"{key}={_written(value, key)}"


def _hydras(key: str, text: str) -> str:
    """An override without a type, written by Python or already for Hydra."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    if isinstance(value, (list, tuple, dict, type(None))):
        return f"{key}={_written(value, key)}"
    return f"{key}={text if _read(key, text) is not _NOTHING else quoted(text)}"


def _written(value: Any, key: str) -> str:
    """A value in Hydra's grammar."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{','.join(_written(item, key) for item in value)}]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{name}:{_written(item, key)}" for name, item in value.items()) + "}"
    if isinstance(value, str):
        return value if _read(key, value) == value else quoted(value)
    return str(value)


_NOTHING = object()


def _read(key: str, text: str) -> Any:
    """The one value that Hydra reads in a text; `_NOTHING` where it reads none, or several."""
    try:
        override = OverridesParser.create().parse_override(f"{key}={text}")
    except HydraException:
        return _NOTHING
    return _NOTHING if override.is_sweep_override() else override.value()
