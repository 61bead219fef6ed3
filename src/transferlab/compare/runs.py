"""A run as the comparison keeps it: small, so that ten thousand fit into memory."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from operator import itemgetter
from sys import intern
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferlab.results import COMPUTING

# What does not make a run another one to compare: where it lies, who watches it, what is measured beside it.
_NOT_COMPARED = frozenset(
    {"seed", "study", "paths", "tracker", "axes", "workers", "cache"}
    | {"diagnostics", "oracle", "rules", "twins", "pause_at", "hydra", "defaults"}
)
_ROUND_OFF = tuple(f"trainer.{key}" for key in COMPUTING)
# of an epoch, what is no number that makes a curve
_NO_CURVES = ("epoch", "trainable", "lr")


@dataclass(frozen=True)
class Curves:
    """The history of a run: a value an epoch under each key, NaN where an epoch has none.

    Attributes:
        epochs: numbers of the epochs, (E,).
        values: `train/task_loss`, `val/accuracy`, `diagnostics/drift/head`, ..., each (E,).
        trainable: the stages that train, one tuple an epoch.
        rates: learning rate by parameter group, each (E,).
    """

    epochs: NDArray[np.int64]
    values: Mapping[str, NDArray[np.float64]]
    trainable: tuple[tuple[str, ...], ...]
    rates: Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Run:
    """One finished run.

    Attributes:
        run_id: the hash of its config.
        where: its folder, or its address in W&B.
        study: that it was run for.
        axes: source, target, strategy, backbone, seed.
        config: what may tell it from others, by dotted key.
        metrics: `selected`, `last` and, where it was measured, `oracle`.
        cost: seconds, samples, parameters, ...
        forgetting: source accuracy before and after, where it was measured.
        curves: its epochs.
        labels_seen: how many labels of the target, where the record says so.
        rules: by selection rule, what it would have chosen: `epoch`, `score`, `collapsed`, `test/accuracy`, ...
    """

    run_id: str
    where: str
    study: str
    axes: Mapping[str, Any]
    config: Mapping[str, Any]
    metrics: Mapping[str, Mapping[str, Any] | None]
    cost: Mapping[str, Any]
    forgetting: Mapping[str, Any] | None
    curves: Curves
    labels_seen: int | None = None
    rules: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def seed(self) -> Any:
        """What runs are paired by: the seed, and the fold under cross-validation."""
        seed = self.axes["seed"]
        return seed if self.config.get("target.folds") is None else f"{seed}, fold {self.config.get('target.fold')}"

    @cached_property
    def identity(self) -> Mapping[str, str]:
        """The config keys that two runs of one strategy may differ in, as text."""
        found = {
            key: str(value)
            for key, value in self.config.items()
            if _top(key) not in _NOT_COMPARED and not key.endswith(_ROUND_OFF)
        }
        # what of the cache changes numbers; runs from before there was one changed none
        used = self.config.get("cache.use", "off") != "off"
        found["cache.dtype"] = str(self.config.get("cache.dtype") if used else "float32")
        found["cache.views"] = str(self.config.get("cache.views") or 0)
        return found


def run_of(record: Mapping[str, Any], where: str) -> Run:
    """A run from its record, in today's schema.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: it is not one.
    """
    return Run(
        run_id=str(record["run_id"]),
        where=where,
        study=str(record["study"]),
        axes={key: _scalar(key, record["axes"][key]) for key in ("source", "target", "strategy", "backbone", "seed")},
        config=dict(flat(record["config"])),
        metrics={which: _scores(record["metrics"].get(which)) for which in ("selected", "last", "oracle")},
        cost={key: _number(key, value) for key, value in record["cost"].items()},
        forgetting=_scores(record.get("forgetting")),
        labels_seen=(record.get("data") or {}).get("labels_seen"),
        curves=_curves(record.get("history") or []),
        rules={intern(rule): _ruled(epoch) for rule, epoch in (record.get("rules") or {}).items()},
    )


def _scores(epoch: Any) -> dict[str, Any] | None:
    if epoch is None:
        return None
    return {key: value if key == "rule" else _number(key, value) for key, value in epoch.items()}


def _ruled(epoch: Mapping[str, Any]) -> dict[str, Any]:
    collapsed = epoch.get("collapsed")  # null: nobody looked
    if collapsed is not None and not isinstance(collapsed, bool):
        raise TypeError(f"collapsed is {collapsed!r}, neither true nor false")
    numbers = {intern(key): _number(key, value) for key, value in epoch.items() if key != "collapsed"}
    return {**numbers, "collapsed": bool(collapsed)}


def _number(name: str, value: Any) -> float | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise TypeError(f"{name} is {value!r}, no number")
    return value


def _scalar(name: str, value: Any) -> Any:
    if not isinstance(value, (str, int, float)):
        raise TypeError(f"{name} is {value!r}, neither a word nor a number")
    return value


def flat(config: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a config under its dotted key; a list is one value, as text, and so is an empty mapping."""
    for key, value in config.items():
        name = intern(f"{prefix}{key}")
        if isinstance(value, str):
            yield name, intern(value)
        elif isinstance(value, dict) and value:
            yield from flat(value, f"{name}.")
        else:
            yield name, str(value) if isinstance(value, (list, dict)) else value


def _curves(history: list[Mapping[str, Any]]) -> Curves:
    return Curves(
        epochs=np.array([int(row["epoch"]) for row in history], np.int64),
        values=_columns(history, _NO_CURVES),
        trainable=tuple(_shared(tuple(row.get("trainable") or ())) for row in history),
        rates=_columns([row.get("lr") or {} for row in history]),
    )


def _columns(rows: list[Mapping[str, Any]], without: Sequence[str] = ()) -> dict[str, NDArray[np.float64]]:
    """Each key's values, a number a row; NumPy reads None as NaN."""
    counts = Counter(chain.from_iterable(rows))
    keys = [key for key in counts if key not in without]
    full = [key for key in keys if counts[key] == len(rows)]
    # most keys are in every row, and are picked many times faster together
    found: dict[str, NDArray[np.float64]] = {}
    if full:
        pick = itemgetter(*full, full[0])  # of one key alone it would give no tuple
        found = dict(zip(full, np.array(list(map(pick, rows)), float).T, strict=False))
    for key in keys:
        if key not in found:
            found[key] = np.array([row.get(key) for row in rows], float)
    return {intern(key): found[key] for key in keys}


def _shared(stages: tuple[str, ...], known: dict[tuple[str, ...], tuple[str, ...]] = {}) -> tuple[str, ...]:  # noqa: B006
    """One tuple for all epochs and runs in which the same stages train."""
    return known.setdefault(stages, tuple(map(intern, stages)))


def _top(key: str) -> str:
    return key.partition(".")[0]
