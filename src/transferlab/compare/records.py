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
        else:
            kept[record["run_id"]] = record
    if not kept:
        reasons = "; ".join(f"{path}: {reason}" for path, reason in left_out[:3])
        raise InputError(f"there is no finished run under {', '.join(map(str, folders))} ({reasons or 'none at all'})")
    variants = _variants(list(kept.values()))
    rows = [_row(record, variants[record["run_id"]], metric) for record in kept.values()]
    return Study(pd.DataFrame(rows), tuple(left_out), folders[0])


def _row(record: Mapping[str, Any], variant: str, metric: str) -> dict[str, Any]:
    selected = record["metrics"]["selected"]
    if metric not in selected:
        raise unknown("metric", metric, [key for key in selected if "/" in key])
    axes, cost = record["axes"], record["cost"]
    return {
        **{key: axes[key] for key in _SETTING},
        "strategy": f"{axes['strategy']}{variant}",
        "seed": axes["seed"],
        "score": selected[metric],
        "trainable_parameters": cost["trainable_parameters"],
        "seconds": cost["seconds"],
    }


def _variants(records: list[Mapping[str, Any]]) -> dict[str, str]:
    """What tells the runs of one strategy apart besides the seed: ` key=value` of each config key that varies."""
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for record in records:
        groups.setdefault(tuple(record["axes"][key] for key in (*_SETTING, "strategy")), []).append(record)
    named = {}
    for group in groups.values():
        flat = {record["run_id"]: dict(_flat(record["config"])) for record in group}
        keys = sorted({key for config in flat.values() for key in config})
        varying = [key for key in keys if len({config.get(key) for config in flat.values()}) > 1]
        for run, config in flat.items():
            named[run] = "".join(f" {key}={config.get(key)}" for key in varying)
    return named


def _flat(config: Any, prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in config.items():
        if not prefix and key in _NOT_VARIED:
            continue
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)
