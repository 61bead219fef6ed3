"""The records of a study as one table, a row a run."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from transferlab import results
from transferlab.errors import InputError, unknown

_KEYS = frozenset({"run_id", "status", "axes", "config", "metrics", "cost"})
_SETTING = ("source", "target", "backbone")
_NOT_VARIED = ("seed", "study", "paths", "tracker", "axes", "workers")


@dataclass(frozen=True)
class Study:
    """Finished runs, and those that are none.

    Attributes:
        runs: one row a run: source, target, backbone, strategy (with what else varies), seed, score,
            trainable_parameters, seconds.
        left_out: folder and reason of every record that is not among them.
        folder: where tables go.
    """

    runs: pd.DataFrame
    left_out: tuple[tuple[Path, str], ...]
    folder: Path


def find(names: Iterable[str], runs: Path) -> list[Path]:
    """The folders that names of studies or paths stand for; without a name, the only study there is.

    Raises:
        InputError: no such study, or several to choose from.
    """
    names = list(names)
    studies = sorted(path.name for path in runs.glob("*") if path.is_dir() and path.name != "pretraining")
    if not names:
        if not studies:
            raise InputError(f"there are no runs under {runs}; train some, or set --runs")
        if len(studies) > 1:
            raise InputError(f"there are several studies under {runs}: name one of {', '.join(studies)}")
        names = studies
    found = [next((path for path in (runs / name, Path(name)) if path.is_dir()), None) for name in names]
    for name, path in zip(names, found, strict=True):
        if path is None:
            raise unknown("study", name, studies)
    return [path for path in found if path is not None]


def load(folders: Iterable[Path], metric: str) -> Study:
    """Read every `run.json` under the folders.

    Args:
        folders: studies, or any folders above runs.
        metric: a key of `metrics.selected`, e.g. `test/accuracy`.

    Raises:
        InputError: no finished run, or no such metric.
    """
    folders = list(folders)
    kept: dict[str, dict[str, Any]] = {}
    left_out = []
    for file in sorted(file for folder in folders for file in folder.rglob("run.json")):
        record = results.read(file.parent)
        if record is None or not record.keys() >= _KEYS:
            left_out.append((file.parent, "unreadable"))
        elif record["status"] != "finished":
            left_out.append((file.parent, f"{record['status']}: {record.get('reason', '')}"))
        elif record["run_id"] in kept:
            left_out.append((file.parent, "the same run lies elsewhere too"))
        elif record["study"] == "pretraining" and file.parent.parent not in folders:
            left_out.append((file.parent, "pretraining of a source"))
        elif metric in record["metrics"]["selected"] and record["metrics"]["selected"][metric] is None:
            left_out.append((file.parent, f"{metric} is no number"))
        else:
            kept[record["run_id"]] = record
    if not kept:
        reasons = "; ".join(f"{path}: {reason}" for path, reason in left_out[:3])
        raise InputError(f"there is no finished run under {', '.join(map(str, folders))} ({reasons or 'none at all'})")
    told_apart = _told_apart(list(kept.values()))
    rows = [_row(record, *told_apart[record["run_id"]], metric) for record in kept.values()]
    return Study(pd.DataFrame(rows), tuple(left_out), folders[0])


def _row(record: Mapping[str, Any], setting: str, variant: str, metric: str) -> dict[str, Any]:
    selected = record["metrics"]["selected"]
    if metric not in selected:
        raise unknown("metric", metric, [key for key in selected if "/" in key])
    axes, cost, target = record["axes"], record["cost"], record["config"].get("target", {})
    folds = target.get("folds") is not None
    return {
        **{key: axes[key] for key in _SETTING},
        "target": f"{axes['target']}{setting}",
        "strategy": f"{axes['strategy']}{variant}",
        "seed": f"{axes['seed']}, fold {target['fold']}" if folds else axes["seed"],
        "score": selected[metric],
        "trainable_parameters": cost["trainable_parameters"],
        "seconds": cost["seconds"],
    }


def _told_apart(records: list[Mapping[str, Any]]) -> dict[str, tuple[str, str]]:
    """What, besides the seed, varies among the runs of one strategy: ` key=value` for each such key.

    A key that varies within every strategy, such as the label budget, makes settings: strategies are compared within
    one. A key of the strategy, or one that varies within some strategies alone, makes variants of these.

    Returns:
        (setting, variant) by run id.
    """
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for record in records:
        groups.setdefault(tuple(record["axes"][key] for key in (*_SETTING, "strategy")), []).append(record)
    flat = {record["run_id"]: dict(_flat(record["config"])) for record in records}
    varying = {axes: _varying([flat[record["run_id"]] for record in group]) for axes, group in groups.items()}
    named = {}
    for axes, group in groups.items():
        beside = [keys for other, keys in varying.items() if other[:-1] == axes[:-1]]
        shared = {key for key in set.intersection(*beside) if not key.startswith("strategy.") and len(beside) > 1}
        for record in group:
            config = flat[record["run_id"]]
            setting, variant = (
                "".join(f" {key}={config.get(key)}" for key in sorted(keys))
                for keys in (shared, varying[axes] - shared)
            )
            named[record["run_id"]] = (setting, variant)
    return named


def _varying(configs: list[dict[str, str]]) -> set[str]:
    keys = {key for config in configs for key in config}
    return {key for key in keys if len({config.get(key) for config in configs}) > 1} - {"target.fold"}


def _flat(config: Any, prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in config.items():
        if not prefix and key in _NOT_VARIED:
            continue
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)
