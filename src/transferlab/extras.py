"""Libraries that not every installation has."""

from importlib import import_module
from typing import Any

from transferlab.errors import InputError


def library(module: str, does: str, extra: str) -> Any:
    """A library, or a part of one, imported where it is used.

    Args:
        module: its name.
        does: who needs it and for what, for messages: `task=x measures by y`.
        extra: of this package's, that brings it.

    Raises:
        InputError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise InputError(f"{does}: pip install 'transferlab[{extra}]'") from error
