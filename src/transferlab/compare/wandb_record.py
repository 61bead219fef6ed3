"""A record, put together again from what W&B keeps of a run: its config, its summary, the rows of its history."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from transferlab.results import Record

_AXES = ("source", "target", "strategy", "backbone")
_SCORES = ("selected", "last", "oracle")
_NOT_NUMBERS = ("NaN", "Infinity", "-Infinity")  # W&B writes them as text; a record has null


def is_ours(config: Mapping[str, Any]) -> bool:
    """Whether a config is one of a run of transferlab."""
    axes = config.get("axes")
    return isinstance(axes, Mapping) and axes.keys() >= {*_AXES} and "study" in config and "seed" in config


def rebuilt(wandb_id: str, state: str, url: str, config: Mapping[str, Any], summary: Mapping[str, Any]) -> Record:
    """The record, in the schema of the run that wrote it, without its history.

    What W&B was never told is empty: `overrides`, `data`, `environment`. A run that was killed told no status: it
    counts as interrupted, or as failed where W&B saw it fail; its config comes without empty mappings, and 1.0 as 1.

    Args:
        wandb_id: `<study>-<run id>`.
        state: what W&B says: `finished`, `running`, `crashed`, `killed`, `failed`, ...
        url: the run's page.
        config: resolved, nested.
        summary: as `record.summary` wrote it.
    """
    status, reason = summary.get("status"), summary.get("reason", "")
    if status is None:
        status, reason = "failed" if state == "failed" else "interrupted", f"W&B says {state}"
    return {
        "schema": summary.get("schema", 1),
        "run_id": wandb_id.rpartition("-")[2],
        "study": config["study"],
        "status": status,
        "reason": reason,
        "axes": {**{key: config["axes"][key] for key in _AXES}, "seed": config["seed"]},
        "config": json.loads(summary["config_json"]) if "config_json" in summary else dict(config),
        "overrides": [],
        "metrics": {which: _under(f"{which}/", summary) or None for which in _SCORES},
        "history": [],
        "cost": _under("cost/", summary),
        "data": {},
        "environment": {},
        "tracker": {"kind": "wandb", "run_id": wandb_id, "mode": "online", "url": url},
        **{key: _plain(summary[key]) for key in ("forgetting", "rules", "chosen") if key in summary},
    }


def epochs(rows: Iterable[Mapping[str, Any]], groups: Iterable[str]) -> list[dict[str, Any]]:
    """The history of a record: one row an epoch, where W&B has several a training step, of which the later ones count.

    Args:
        rows: as logged, in any order.
        groups: of parameters, in the order of the network; W&B sorts them by name.
    """
    steps: dict[Any, dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: row.get("_step", 0)):
        steps.setdefault(row.get("trainer/global_step"), {}).update(row)
    depth = {name.removeprefix("backbone/"): place for place, name in enumerate(groups)}
    found = {int(step["epoch"]): _epoch(step, depth) for step in steps.values() if "epoch" in step}
    return [found[epoch] for epoch in sorted(found)]


def _epoch(step: Mapping[str, Any], depth: Mapping[str, int]) -> dict[str, Any]:
    def place(name: str) -> int:
        return depth.get(name.removeprefix("backbone/"), len(depth))

    rates, flags = _under("lr/", step), _under("trainable/", step)
    ours = ("lr/", "trainable/", "trainer/")
    measured = {key: _plain(step[key]) for key in sorted(step) if "/" in key and not key.startswith(ours)}
    trained = sorted((stage for stage, flag in flags.items() if flag and stage != "share"), key=place)
    rates = {group: rates[group] for group in sorted(rates, key=place)}
    return {"epoch": int(step["epoch"]), **measured, "trainable": trained, "lr": rates}


def _under(prefix: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """What stands under a prefix."""
    return {key.removeprefix(prefix): _plain(value) for key, value in found.items() if key.startswith(prefix)}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, float) and value - value != 0:
        return None
    return None if value in _NOT_NUMBERS else value
