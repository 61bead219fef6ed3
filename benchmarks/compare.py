"""How long `transferlab compare` takes over how many runs, and how much memory: the whole command as a process.

Studies are made up: records as `train` writes them, of 100 epochs each with diagnostics, two targets, ten strategies,
the rest seeds. What a user would pick instead, reading every history with pandas and averaging it, runs beside it.

    python benchmarks/compare.py [--runs 1000 4000 10000] [--epochs 100]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import numpy as np

STRATEGIES = [
    ("scratch", 0.80),
    ("linear_probe", 0.84),
    ("full_finetune", 0.88),
    ("lp_ft", 0.89),
    ("gradual_unfreezing", 0.89),
    ("l2_sp", 0.90),
    ("chain_thaw", 0.87),
    ("top_k", 0.86),
    ("surgical", 0.86),
    ("joint", 0.83),
]
STAGES = ["stem", "layer1", "layer2", "layer3", "layer4", "head"]
LIMITS = {1_000: (3.0, 500), 10_000: (30.0, None)}  # seconds, MB
PEER = """
import json, sys
from pathlib import Path
import pandas as pd
records = [json.loads(path.read_text()) for path in Path(sys.argv[1]).rglob("run.json")]
rows = pd.json_normalize([{**r["axes"], **r["metrics"]["selected"]} for r in records])
histories = pd.concat([pd.json_normalize(r["history"]).assign(run=r["run_id"]) for r in records])
print(rows.groupby(["target", "strategy"])["test/accuracy"].agg(["mean", "std", "sem"]))
print(histories.groupby("epoch").mean(numeric_only=True).shape)
"""


def main() -> None:
    """One line a size, in JSON; exit 1 where a limit is broken or growth is worse than linear."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[1_000, 4_000, 10_000])
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="folder to make the studies in, and leave them")
    args = parser.parse_args()
    broken, slopes = False, {}
    for size in args.runs:
        with tempfile.TemporaryDirectory() as folder:
            place = (args.keep or Path(folder)) / str(size)
            make_study(place, size, args.epochs)
            ours, peers, memory = [], [], []
            for _ in range(args.rounds if size <= 1_000 else 1):
                seconds, used = timed([sys.executable, "-m", "transferlab.cli", "compare", str(place / "made_up")])
                ours.append(seconds)
                memory.append(used)
                peers.append(timed([sys.executable, "-c", PEER, str(place)])[0])
        ours_s, peer_s = float(np.median(ours)), float(np.median(peers))
        seconds_limit, memory_limit = LIMITS.get(size, (None, None))
        slopes[size] = ours_s
        line = {
            "benchmark": "compare",
            "case": f"{size} runs x {args.epochs} epochs",
            "ours_s": round(ours_s, 3),
            "spread_s": [round(min(ours), 3), round(max(ours), 3)],
            "ours_mb": round(max(memory)),
            "peer": "pandas: read, one mean and deviation a strategy, one mean an epoch",
            "peer_s": round(peer_s, 3),
            "ratio": round(peer_s / ours_s, 3),
            "limit": {"seconds": seconds_limit, "mb": memory_limit},
        }
        print(json.dumps(line), flush=True)
        broken |= seconds_limit is not None and ours_s > seconds_limit
        broken |= memory_limit is not None and max(memory) > memory_limit
    if len(slopes) > 1:
        sizes = sorted(slopes)
        per_run = [(slopes[b] - slopes[a]) / (b - a) * 1e3 for a, b in pairwise(sizes)]
        print(
            json.dumps({"benchmark": "compare", "case": "growth", "ms_a_further_run": [round(x, 3) for x in per_run]})
        )
        broken |= len(per_run) > 1 and per_run[-1] > 1.5 * per_run[0]
    sys.exit(int(broken))


def timed(words: list[str]) -> tuple[float, float]:
    """Seconds, and peak memory in MB of the largest of its processes."""
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    started = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)
    error = process.stderr.read() if process.stderr else ""
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        sys.exit(error)
    return seconds, usage.ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)


def make_study(folder: Path, runs: int, epochs: int, study: str = "made_up") -> None:
    """Write `runs` records of made-up runs under `folder/study`, the same in every call."""
    rng = np.random.default_rng(0)
    targets = ["digits", "usps"]
    for number in range(runs):
        strategy, level = STRATEGIES[number % len(STRATEGIES)]
        target = targets[number // len(STRATEGIES) % len(targets)]
        seed = number // (len(STRATEGIES) * len(targets))
        record = make_record(rng, strategy, level - 0.1 * targets.index(target), target, seed, epochs, study)
        place = folder / study / record["run_id"]
        place.mkdir(parents=True, exist_ok=True)
        (place / "run.json").write_text(json.dumps(record, indent=1) + "\n")


def make_record(
    rng: np.random.Generator, strategy: str, level: float, target: str, seed: int, epochs: int, study: str
) -> dict[str, object]:
    """One finished run whose test accuracy is about `level`."""
    axes = {"source": "mnist5k", "target": target, "strategy": strategy, "backbone": "resnet18", "seed": seed}
    final = level + rng.normal(0, 0.02)
    rise = 1 - np.exp(-np.arange(1, epochs + 1) / (epochs / 5))
    accuracy = final * rise + rng.normal(0, 0.005, epochs)
    history = [_epoch(epoch, accuracy[epoch], epochs, strategy) for epoch in range(epochs)]
    row = history[-1]
    scores = {"epoch": epochs - 1, "val/accuracy": row["val/accuracy"], "val/loss": row["val/loss"]}
    scores |= {"test/accuracy": final, "test/loss": 1 - final}
    return {
        "schema": 2,
        "run_id": sha256(json.dumps([study, axes]).encode()).hexdigest()[:10],
        "study": study,
        "status": "finished",
        "reason": "",
        "axes": axes,
        "config": {**_config(epochs), "seed": seed, "study": study},
        "overrides": [],
        "metrics": {
            "selected": {"rule": "target_validation", **scores},
            "last": scores,
            "oracle": {"rule": "oracle", **scores, "test/accuracy": final + abs(rng.normal(0, 0.004))},
        },
        "history": history,
        "cost": {
            "seconds": 60 + rng.normal(0, 2),
            "fit_seconds": 55.0,
            "samples": 1000 * epochs,
            "trainable_parameters": 5_130 if strategy == "linear_probe" else 11_181_642,
            "total_parameters": 11_181_642,
            "flops": int(1e12 * (1 if strategy == "linear_probe" else 3)),
            "peak_memory_bytes": 900_000_000,
            "cache_hits": 0,
            "diagnostics_seconds": 1.0,
        },
        "forgetting": {
            "source_accuracy_before": 0.98,
            "source_accuracy_after": float(rng.uniform(0.5, 0.9)),
            "samples": 99,
        },
        "saliency": None,
        "data": {"sizes": {"train": 80, "val": 20, "test": 539}, "classes": list("0123456789"), "labels_seen": 100},
        "environment": {},
        "tracker": {"kind": "none"},
    }


def _epoch(epoch: int, accuracy: float, epochs: int, strategy: str) -> dict[str, object]:
    first = 0
    if strategy == "linear_probe":
        first = len(STAGES) - 1
    if strategy == "gradual_unfreezing":
        first = max(0, len(STAGES) - 1 - epoch * 10 // epochs)
    trainable = STAGES[first:]
    row: dict[str, object] = {
        "epoch": epoch,
        "train/task_loss": 2.3 * (1 - accuracy),
        "val/accuracy": accuracy,
        "val/class_accuracy": accuracy,
        "val/loss": 2.4 * (1 - accuracy),
    }
    if strategy == "l2_sp":
        row["train/l2_sp_loss"] = 0.1 * accuracy
    if epoch % 10 == 0 or epoch == epochs - 1:
        for stage in STAGES:
            row[f"diagnostics/relative_drift/{stage}"] = 0.1 * accuracy * (stage in trainable)
        row["diagnostics/feature_rank"] = 20 + 10 * accuracy
    rate = 0.01 * (1 + np.cos(np.pi * epoch / epochs)) / 2
    groups = [f"backbone/{stage}" if stage != "head" else stage for stage in STAGES]
    return {**row, "trainable": trainable, "lr": dict.fromkeys(groups, rate)}


def _config(epochs: int) -> dict[str, object]:
    """About as much as a run's config holds."""
    return {
        "source": {
            "weights": None,
            "pretrain": {f"key{number}": number for number in range(40)},
            "data": {"border": 4},
        },
        "target": {"labels": 10, "imbalance": 1.0, "validation": 0.2, "folds": None, "fold": 0, "data": {"root": "d"}},
        "backbone": {"_target_": "transferlab.backbones.torchvision.resnet", "name": "resnet18"},
        "task": {"_target_": "transferlab.tasks.classification.Classification"},
        "strategy": {"start": "source", "losses": {}, "lr_decay": 1.0, "frozen_batchnorm": "still"},
        "optimizer": {"_target_": "torch.optim.SGD", "lr": 0.01, "momentum": 0.9, "weight_decay": 0.0001},
        "scheduler": {"warmup": 0.0, "clock": "per_stage"},
        "selection": {"metric": "val/accuracy"},
        "trainer": {"max_epochs": epochs, "accelerator": "auto", "precision": "32-true"},
        "tracker": {"mode": "offline", "project": "transferlab", "entity": None},
        "paths": {"runs": "runs", "data": "data"},
        "batch_size": 32,
        "workers": 0,
    }


if __name__ == "__main__":
    main()
