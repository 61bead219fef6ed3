"""The record of a run, `run.json`: its identity, where it lies, how it is written, found and read. No torch."""

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import orjson
import yaml
from filelock import FileLock
from omegaconf import DictConfig, OmegaConf, flag_override
from omegaconf._utils import get_omega_conf_dumper

from transferlab import withheld
from transferlab.errors import InputError
from transferlab.files import remove_halves, try_lock, writable, write_text
from transferlab.migrations import migrated
from transferlab.pulse import Pulse, is_elsewhere, sign

SELECTED = "selected.pt"
"""In a run's folder: the weights of the selected epoch."""
RESUME, KEPT, START = "resume.ckpt", "kept.pt", "start.pt"
PASSING = (RESUME, KEPT, START)
"""In a run's folder while it trains, and in none that is over: its checkpoint, the weights selected so far, and those
that no epoch has trained."""
PRETRAINING, CANDIDATES = "pretraining", "candidates"
"""Studies of runs that other runs ask for: those that train sources, and those from which `strategy=auto` chooses."""
LOCK = ".lock"
"""In a run's folder: whoever trains it holds it."""
STATUSES = ("finished", "failed", "diverged", "pruned", "interrupted")
# Where a run lies, who watches it and with whom it is compared is no part of what it is.
_NOT_IDENTITY = ("study", "paths", "tracker", "workers", "twins", "pause_at", "cache")
COMPUTING = ("allocator", "channels_last", "fused", "threads")
"""Keys of `trainer` that say how a run is computed, not what it is: they change its numbers by round-off at most."""
# OmegaConf would parse words that ask for a path, wherever they are read
_MARK = "\0"
_MARKED = re.compile(f"{_MARK}([^{_MARK}]*){_MARK}")
# A saved config is a primary config of its own; this is all of Hydra it needs.
_HYDRA_DEFAULTS = ["hydra/house", "_self_"]

Record: TypeAlias = dict[str, Any]
_log = logging.getLogger(__name__)


def portable(config: DictConfig) -> dict[str, Any]:
    """The resolved config, in which `${paths.x}` alone stays as it is: moving a folder does not change a run."""
    return _plain(config, resolve=True) | _places(config)


def written(config: DictConfig) -> dict[str, Any]:
    """The portable config as others may read it: `${oc.env:X}` stays as it is too, but in what says where runs lie."""
    whole: dict[str, Any] = withheld.as_written(partial(_plain, config))
    return {**whole, **withheld.hidden(_places(config))}


def _places(config: DictConfig) -> dict[str, Any]:
    return {"paths": OmegaConf.to_container(config.paths, resolve=True), "study": config.study}


def _plain(config: DictConfig, resolve: bool) -> dict[str, Any]:
    with _marked(config.paths):
        plain = OmegaConf.to_container(config, resolve=resolve, throw_on_missing=True)
    assert isinstance(plain, dict)
    return {str(key): _asking(value) for key, value in plain.items()}


@contextmanager
def _marked(paths: DictConfig) -> Iterator[None]:
    """Within, each path has its name between marks as its value; a copy of the whole config would cost more."""
    before = OmegaConf.to_container(paths)
    assert isinstance(before, dict)
    with flag_override(paths, ["struct", "readonly"], False):
        try:
            for key in before:
                paths[key] = f"{_MARK}{key!s}{_MARK}"
            yield
        finally:
            for key, words in before.items():
                paths[key] = words


def _asking(value: Any) -> Any:
    """What was read while paths were marked, with the words that ask for a path in place of its mark."""
    if isinstance(value, dict):
        return {key: _asking(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_asking(item) for item in value]
    if isinstance(value, str) and _MARK in value:
        return _MARKED.sub(r"${paths.\1}", value)
    return value


def run_id(config: DictConfig) -> str:
    """Ten hexadecimal digits of the hash of everything in the config that makes the run what it is.

    Raises:
        InputError: a number in it is NaN or infinite.
    """
    whole = _without_computing(_plain(config, resolve=True))
    identity = {key: value for key, value in whole.items() if key not in _NOT_IDENTITY}
    if (changed := _changing(config.get("cache"))) is not None:
        identity["cache"] = changed
    try:
        text = json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except ValueError as error:
        raise InputError("a number of the config is NaN or infinite; give a finite one") from error
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _without_computing(config: dict[str, Any]) -> dict[str, Any]:
    """The config without `COMPUTING`, which are taken out of its trainer and out of that of its source, in place."""
    pretrain = (config.get("source") or {}).get("pretrain") or {}
    for trainer in (config.get("trainer") or {}, pretrain.get("trainer") or {}):
        for key in COMPUTING:
            trainer.pop(key, None)
    return config


def _changing(cache: DictConfig | None) -> dict[str, Any] | None:
    """What of the cache's settings changes numbers by more than round-off, where it does."""
    if cache is None:
        return None
    rounded = {"use": cache.use, "dtype": cache.dtype} if cache.use != "off" and cache.dtype != "float32" else {}
    return rounded | ({"views": cache.views} if cache.views else {}) or None


def folder(config: DictConfig) -> Path:
    """`runs/<study>/<run id>`, where everything of a run lies."""
    return Path(config.paths.runs) / str(config.study) / run_id(config)


def read(run: Path) -> Record | None:
    """The record in a run's folder, in today's schema, or None where there is none that can be read.

    Raises:
        InputError: a newer transferlab wrote it.
    """
    record = raw(run)
    return migrated(record) if record is not None else None


def raw(run: Path) -> Record | None:
    """The record as it was written, in the schema of its time, or None where there is none that can be read."""
    try:
        text = (run / "run.json").read_bytes()
        try:
            record = orjson.loads(text)
        except ValueError:
            record = json.loads(text)  # slower, and knows the NaN and Infinity that other tools write
    except (OSError, ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and "schema" in record else None


def is_finished(run: Path) -> bool:
    """Whether the run ended well, so that nobody needs to run it again."""
    return (read(run) or {}).get("status") == "finished"


def is_over(record: Record | None) -> bool:
    """Whether nothing of a run is left to do: it finished, or diverged and would again."""
    return record is not None and record["status"] in ("finished", "diverged")


def write(run: Path, record: Mapping[str, Any]) -> None:
    """Write the record whole or not at all."""
    write_text(run / "run.json", json.dumps(_finite(withheld.hidden(record)), indent=1, allow_nan=False) + "\n")


class _Dumper(getattr(yaml, "CDumper", yaml.Dumper)):  # type: ignore[misc]
    """OmegaConf's, but written in C where PyYAML was built with it."""

    yaml_representers = get_omega_conf_dumper().yaml_representers


def write_config(run: Path, config: Mapping[str, Any]) -> None:
    """Write `config.yaml`, which `transferlab train --config-dir <run> --config-name config` runs again.

    Args:
        run: the folder.
        config: as `written` gives it.
    """
    plain = {"defaults": _HYDRA_DEFAULTS, **config}
    # as OmegaConf.to_yaml, which would make a config of it first: that takes longer than all else
    text = yaml.dump(plain, Dumper=_Dumper, allow_unicode=True, sort_keys=False)
    write_text(run / "config.yaml", text)


@contextmanager
def held(run: Path, announce: str | None) -> Iterator[Pulse | None]:
    """Hold a run's folder: of the processes that start the same run one trains, the others wait and find it done.

    Args:
        run: the folder.
        announce: what to say, once, when another process holds it; None: that one is not waited for.

    Yields:
        Its sign of life while it is held; None: it is not.
    """
    with writable(run):
        run.mkdir(parents=True, exist_ok=True)
        lock = FileLock(run / LOCK)
        if not try_lock(lock) and announce is not None:
            _log.info("%s", announce)
            lock.acquire()
        if lock.is_locked and not is_elsewhere(sign(run)):
            remove_halves(run)
    try:
        with Pulse(run) if lock.is_locked else nullcontext() as pulse:
            yield pulse
    finally:
        lock.release()


def _finite(value: Any) -> Any:
    """JSON has no NaN or infinity: a number that is none is written as null."""
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and value - value != 0:
        return None
    return value
