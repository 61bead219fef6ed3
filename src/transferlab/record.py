"""What a record says: the run in a few words, its first lines before training, its summary after. No torch."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from transferlab import migrations, results
from transferlab.results import Record


def title(config: DictConfig) -> str:
    """A run in a few words."""
    return of_axes({**config.axes, "seed": config.seed})


def of_axes(axes: Mapping[str, Any]) -> str:
    """Likewise, of a record's axes."""
    return "{strategy} {source}->{target} {backbone} seed={seed}".format_map(axes)


def begin(config: DictConfig, folder: Path, environment: Mapping[str, Any]) -> Record:
    """The record of a run that has not ended: until it does, it counts as interrupted."""
    ours = HydraConfig.initialized() and config.study not in (results.PRETRAINING, results.CANDIDATES)
    overrides = list(HydraConfig.get().overrides.task) if ours else []
    return {
        "schema": migrations.SCHEMA,
        "run_id": folder.name,
        "study": str(config.study),
        "status": "interrupted",
        "reason": "still running, or killed",
        "axes": {**OmegaConf.to_container(config.axes, resolve=True), "seed": config.seed},  # type: ignore[dict-item]
        "config": results.written(config),
        "overrides": overrides,
        "metrics": {"selected": None, "last": None, "oracle": None},
        "history": [],
        "report": None,
        "forgetting": None,
        "privacy": None,
        "cost": {
            "seconds": 0.0,
            "fit_seconds": None,
            "diagnostics_seconds": None,
            "samples": None,
            "trainable_parameters": None,
            "total_parameters": None,
            "weights_bytes": None,
            "flops": None,
            "peak_memory_bytes": None,
            "cache_hits": 0,
        },
        "data": {},
        "environment": dict(environment),
        "tracker": {},
    }


def summary(record: Record) -> dict[str, Any]:
    """What the tracker's table shows: the selected, the last and the oracle's epoch, the cost, how it ended."""
    scores = {
        f"{which}/{key}": value
        for which in ("selected", "last", "oracle")
        for key, value in (record["metrics"][which] or {}).items()
    }
    cost = {f"cost/{key}": value for key, value in record["cost"].items() if value is not None}
    return {**scores, **cost, **_again(record)}


def _again(record: Record) -> dict[str, Any]:
    """What else `compare` needs to make the record again from W&B."""
    told = {key: record[key] for key in ("schema", "reason", "forgetting", "rules", "chosen") if record.get(key)}
    if "config" in record:
        # of a config W&B loses empty mappings, and makes 1.0 a 1
        told["config_json"] = json.dumps(record["config"])
    if record.get("history"):
        # and it sorts groups of parameters by name
        told["groups"] = list(record["history"][-1]["lr"])
    return told
