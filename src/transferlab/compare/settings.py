"""What is compared with what: the rows of a table, and the settings that make a table each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transferlab.compare.runs import Run
from transferlab.errors import unknown_key

AXES = ("source", "target", "backbone")
SETTING = list(AXES)
DATA_AND_NET = ("source.", "target.", "backbone.", "task.")
"""Beginnings of the config keys that say what is learned from what, and by which net."""


@dataclass(frozen=True)
class Place:
    """Where a run stands.

    Attributes:
        setting: source, target (with what else every row varies in) and backbone: the table.
        row: what is compared: the strategy with what it alone varies in, or what `--by` names.
        variant: config keys that tell this row from others of its strategy.
        shared: config keys that tell this setting from others of its axes.
    """

    setting: Mapping[str, str]
    row: str
    variant: Mapping[str, str]
    shared: Mapping[str, str]

    @property
    def varying(self) -> set[str]:
        """Every config key that tells the run from others of its axes and strategy."""
        return {*self.variant, *self.shared}


def places(runs: Sequence[Run], by: Sequence[str]) -> dict[str, Place]:
    """The place of every run, by run id.

    Under `by=["strategy"]`: a key of data, net or task, such as the label budget, makes settings wherever it varies,
    and so does another that varies within every strategy: strategies are compared within one setting. A key of the
    strategy, or one that varies within some strategies alone, makes variants of these. Under any other `by`, whatever
    else varies makes settings; by a `_target_`, say `task.head._target_`, what stands beside it does so only where it
    varies within a row.

    Args:
        runs: finished ones.
        by: axes or config keys that make the rows.

    Raises:
        InputError: no run has such a key.
    """
    known = dict.fromkeys(key for run in runs for key in (*run.axes, *run.config))
    for key in by:
        if key not in known:
            raise unknown_key("axis or config key for --by", key, known)
    return _by_strategy(runs) if list(by) == ["strategy"] else _by_keys(runs, by)


def _by_strategy(runs: Sequence[Run]) -> dict[str, Place]:
    groups = _grouped(runs, (*AXES, "strategy"))
    varying = {axes: differing_keys([run.identity for run in group]) for axes, group in groups.items()}
    beside: dict[tuple[Any, ...], list[set[str]]] = {}
    for axes, keys in varying.items():
        beside.setdefault(axes[:-1], []).append(keys)
    found = {}
    for axes, group in _grouped(runs, AXES).items():
        everywhere = set.intersection(*beside[axes]) if len(beside[axes]) > 1 else set()
        # runs of other data or another net are no runs of one setting, whether or not every strategy has them
        given = {key for key in differing_keys([run.identity for run in group]) if key.startswith(DATA_AND_NET)}
        shared = {key for key in everywhere if not key.startswith("strategy.")} | given
        for run in group:
            keys = varying[(*axes, run.axes["strategy"])] - shared
            variant = {key: run.identity.get(key, "None") for key in sorted(keys)}
            apart = {key: run.identity.get(key, "None") for key in sorted(shared)}
            setting = dict(zip(AXES, map(str, axes), strict=True))
            setting["target"] += _suffix(apart)
            found[run.run_id] = Place(setting, f"{run.axes['strategy']}{_suffix(variant)}", variant, apart)
    return found


def _by_keys(runs: Sequence[Run], by: Sequence[str]) -> dict[str, Place]:
    axes = [axis for axis in (*AXES, "strategy") if axis not in by]
    prefixes = tuple(f"{key}." for key in by)
    texts = {run.run_id: {**run.identity, **{key: str(value_of(run, key)) for key in by}} for run in runs}
    parts = tuple(key.removesuffix("_target_") for key in by if key.endswith("._target_"))
    varying = set()
    for group in _grouped(runs, axes).values():
        rows: dict[tuple[str, ...], list[Mapping[str, str]]] = {}
        for text in (texts[run.run_id] for run in group):
            rows.setdefault(tuple(text[key] for key in by), []).append(text)
        within = set().union(*map(differing_keys, rows.values()))
        for key in differing_keys([text for row in rows.values() for text in row]):
            # what an axis is made of varies with it, and so do the settings of a part that is named by its `_target_`
            if key not in by and not key.startswith(prefixes) and (key in within or not key.startswith(parts)):
                varying.add(key)
    found = {}
    for run in runs:
        text = texts[run.run_id]
        setting = {axis: "any" if axis in by else str(run.axes[axis]) for axis in AXES}
        strategy = {} if "strategy" in by else {"strategy": str(run.axes["strategy"])}
        setting["target"] += _suffix({**strategy, **{key: text[key] for key in sorted(varying) if key in text}})
        row = text[by[0]] if len(by) == 1 else _suffix({key: text[key] for key in by}).strip()
        found[run.run_id] = Place(setting, row, {}, {})
    return found


def value_of(run: Run, key: str) -> Any:
    """What an axis or a config key says of a run; None where it says nothing."""
    return run.axes[key] if key in run.axes else run.config.get(key)


def _grouped(runs: Sequence[Run], axes: Sequence[str]) -> dict[tuple[Any, ...], list[Run]]:
    groups: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        groups.setdefault(tuple(run.axes[axis] for axis in axes), []).append(run)
    return groups


def differing_keys(configs: Sequence[Mapping[str, str]]) -> set[str]:
    """The keys whose values differ; the fold is a block like the seed."""
    first = configs[0]
    keys = {key for config in configs for key in config} - {"target.fold"}
    return {key for key in keys if any(config.get(key) != first.get(key) for config in configs)}


def _suffix(values: Mapping[str, str]) -> str:
    return "".join(f" {key}={value}" for key, value in values.items())
