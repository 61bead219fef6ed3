"""A config node becomes what it names. No torch."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, flag_override

from transferlab.errors import InputError


def build(node: DictConfig, **extra: Any) -> Any:
    """Build what a config node names; its errors become a sentence with the node's key.

    Args:
        node: with its target.
        extra: given beside what the node says, as they are.

    Raises:
        InputError: from within, or because the node's values do not fit its target.
    """
    try:
        with _told(node, _convert_="all", **({"_partial_": True} if extra else {})):
            made = instantiate(node)
    except InstantiationException as error:
        _refuse(node, error.__cause__, error)
    if not extra:
        return made
    try:  # in the node they would be copied into a config
        return made(**extra)
    except Exception as error:
        _refuse(node, error, error)


def _refuse(node: DictConfig, cause: BaseException | None, error: Exception) -> NoReturn:
    if isinstance(cause, InputError):
        raise cause from None
    what = f"{type(cause).__name__}: {cause}" if cause is not None else str(error).splitlines()[0]
    raise InputError(f"{node._get_full_key(None)}: {' '.join(what.split())}") from error


@contextmanager
def _told(node: DictConfig, **words: object) -> Iterator[None]:
    """Within, the node tells Hydra how it is built; told beside it, the node would be copied once more."""
    if not node:  # null, of which nothing is built
        yield
        return
    before = {key: node[key] for key in words if key in node}
    with flag_override(node, ["struct", "readonly"], False):
        node.update(words)
        try:
            yield
        finally:
            for key in words:
                del node[key]
            node.update(before)
