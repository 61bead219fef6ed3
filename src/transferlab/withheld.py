"""What environment variables hold may be keys: it stays out of records, configs, logs and W&B. No torch."""

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from omegaconf import OmegaConf
from omegaconf.resolvers import oc

from transferlab.errors import InputError

_SECRET = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS|JWT)$")
_LEAST = 8  # characters; what is shorter is a number or a word, no key
_PLACES = ("TRANSFERLAB_DATA",)
_asked: set[str] = set()  # names that a config has asked for
_heard: set[str] | None = None  # names that are asked for while somebody listens
_speaks_words = False


def as_written(plain: Callable[[bool], Any]) -> Any:
    """A config with its values, but where they come from the environment with the words that ask for them.

    Args:
        plain: the config as a container, with values where it is called with True, else with words.
    """
    with _listening() as heard:
        values = plain(True)
    if not heard:
        return hidden(values)
    _asked.update(heard)
    with _speaking_words():
        words = plain(True)
    return hidden(_chosen(values, words, plain(False)))


def hidden(said: Any) -> Any:
    """A text, or what is made of texts, in which values of environment variables are `${oc.env:NAME}`."""
    return _replaced(said, _values(lambda name: name in _asked or _is_secret(name)))


def shown(text: str) -> str:
    """The text that `hidden` was given."""
    return re.sub(r"\$\{oc\.env:(\w+)\}", lambda found: os.environ.get(found[1], found[0]), text)


def check(words: Sequence[str]) -> None:
    """See that no word of a command line is a key: records keep the words, and so does W&B.

    Raises:
        InputError: one holds the value of a variable whose name says that it is secret.
    """
    for value, name in _values(_is_secret):
        if any(value in word for word in words):
            raise InputError(
                f"the command line holds what the environment variable {name} does, and command lines are recorded: "
                f"write '${{oc.env:{name}}}' in its place"
            )


@contextmanager
def aside(prefix: str) -> Iterator[None]:
    """Within, variables of a prefix whose names say that they are secret are not there, for us and who we start."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(prefix) and _is_secret(name)}
    for name in kept:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(kept)


class Formatter(logging.Formatter):
    """Formats log lines, and hides what is withheld."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return str(hidden(super().format(record)))


def _is_secret(name: str) -> bool:
    return bool(_SECRET.search(name.upper()))


def _values(of: Callable[[str], bool]) -> list[tuple[str, str]]:
    """Values and names of environment variables, those first that others may be part of."""
    found = [(value, name) for name, value in os.environ.items() if _is_withheld(name, value) and of(name)]
    return sorted(found, key=lambda pair: -len(pair[0]))


def _is_withheld(name: str, value: str) -> bool:
    return len(value) >= _LEAST and name not in _PLACES


def _replaced(said: Any, values: Sequence[tuple[str, str]]) -> Any:
    if not values:
        return said
    if isinstance(said, Mapping):
        return {key: _replaced(item, values) for key, item in said.items()}
    if isinstance(said, (list, tuple)):
        return [_replaced(item, values) for item in said]
    if isinstance(said, str):
        for value, name in values:
            said = said.replace(value, f"${{oc.env:{name}}}")
    return said


def _chosen(values: Any, words: Any, raw: Any) -> Any:
    """The values that do not depend on the environment, and for the others what asks for them."""
    if isinstance(values, dict):
        below = raw if isinstance(raw, dict) else {}
        return {key: _chosen(value, words[key], below.get(key)) for key, value in values.items()}
    if isinstance(values, list):
        rows = raw if isinstance(raw, list) else [None] * len(values)
        return [_chosen(*three) for three in zip(values, words, rows, strict=True)]
    if values == words:
        return values
    # decoded, the words would be a text
    return raw if isinstance(raw, str) and "${oc.decode:${oc.env:" in raw else words


@contextmanager
def _listening() -> Iterator[set[str]]:
    global _heard
    before, _heard = _heard, set()
    try:
        yield _heard
    finally:
        _heard = before


@contextmanager
def _speaking_words() -> Iterator[None]:
    global _speaks_words
    _speaks_words = True
    try:
        yield
    finally:
        _speaks_words = False


def _env(name: str, *default: Any) -> str | None:
    """OmegaConf's own `oc.env`, but for who listens."""
    value = oc.env(name, *default)
    if not _is_withheld(name, os.environ.get(name, "")):
        return value
    if _heard is not None:
        _heard.add(name)
    words = ",".join([name, *("null" if one is None else str(one) for one in default)])
    return f"${{oc.env:{words}}}" if _speaks_words else value


OmegaConf.register_new_resolver("oc.env", _env, replace=True)
