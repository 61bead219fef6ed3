"""Records as `train` writes them, made up."""

import json
from hashlib import sha256
from pathlib import Path

import pytest

CONFIG = {
    "source": {"weights": None, "data": None, "pretrain": None},
    "target": {"labels": 10, "data": {"root": "${paths.data}"}},
    "strategy": {"lr_decay": 1.0, "losses": {}},
    "optimizer": {"lr": 0.01},
    "tracker": {"mode": "offline"},
    "paths": {"runs": "runs", "data": "data"},
    "workers": 0,
}


@pytest.fixture
def write_run(tmp_path):
    """Writes a record under `runs/<study>/<run id>` and gives its folder; `changes` go over its keys."""

    def write(
        strategy="scratch",
        seed=0,
        score=0.5,
        *,
        source="none",
        target="digits",
        backbone="convnet",
        study="s",
        config=None,
        parameters=100,
        seconds=1.0,
        **changes,
    ) -> Path:
        axes = {"source": source, "target": target, "strategy": strategy, "backbone": backbone, "seed": seed}
        config = {**CONFIG, **(config or {}), "study": study, "seed": seed}
        run_id = sha256(json.dumps([axes, config]).encode()).hexdigest()[:10]
        epoch = {"epoch": 1, "val/accuracy": score / 2, "test/loss": 1 - score, "test/accuracy": score}
        record = {
            "schema": 1,
            "run_id": run_id,
            "study": study,
            "status": "finished",
            "reason": "",
            "axes": axes,
            "config": config,
            "overrides": [],
            "metrics": {"selected": {"rule": "last", **epoch}, "last": epoch, "oracle": None},
            "history": [],
            "cost": {"seconds": seconds, "trainable_parameters": parameters, "total_parameters": 200},
            "data": {},
            "environment": {},
            "tracker": {"kind": "none"},
        }
        record.update(changes)
        folder = tmp_path / "runs" / study / record["run_id"]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "run.json").write_text(json.dumps(record))
        return folder

    return write
