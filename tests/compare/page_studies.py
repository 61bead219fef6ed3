"""Studies for the page's tests, made up and written as records: a rich one, and the smallest there can be."""

import json
from hashlib import sha256
from pathlib import Path

from transferlab.compare.comparison import Comparison, analyse
from transferlab.compare.records import load

HOSTILE = "<b>b</b><script>alert(1)</script>"
BREAKOUT = '</script><img src="x" onerror="alert(2)">'
STAGES = ("stem", "body", "head")
EPOCHS = 8
TARGETS = ("digits", "usps", "kmnist", "svhn", "mnist")
BUDGETS = (5, 50)
# strategy: level of its scores, seconds, learning rates that were tried
STRATEGIES = {
    "scratch": (0.60, 9.5, (0.01,)),
    "linear_probe": (0.70, 10.5, (0.01,)),
    "l2_sp": (0.80, 100.0, (0.001, 0.01)),
    HOSTILE: (0.65, 30.0, (0.01,)),
}
SEEDS = 3
RULES = ("target_val", "entropy")


def rich(folder: Path) -> Comparison:
    """Five targets at two label budgets, four strategies of which one is tuned, three seeds, one record broken."""
    for number, target in enumerate(TARGETS):
        for budget in BUDGETS:
            for strategy, (level, seconds, rates) in STRATEGIES.items():
                for lr in rates:
                    for seed in range(SEEDS):
                        score = level * (1 - 0.05 * number) + 0.001 * budget - (lr < 0.01) * 0.02
                        score += 0.01 * ((seed * 7 + 3) % 5) + 0.001 * seed * (strategy == "l2_sp")
                        config = {"target": {"labels": budget}, "optimizer": {"lr": lr}, "note": BREAKOUT}
                        write(folder, strategy, target, seed, score, seconds, config)
    (folder / "broken").mkdir()
    (folder / "broken" / "run.json").write_text('{"schema"')
    return analyse(load([folder], None))


def smallest(folder: Path) -> Comparison:
    """One run of one seed, without a history, an oracle, rules, or any cost but its time."""
    write(
        folder,
        "scratch",
        "digits",
        0,
        0.5,
        1.0,
        {},
        history=[],
        oracle=None,
        rules=None,
        forgetting=None,
        cost={"seconds": 1.0},
    )
    return analyse(load([folder], None))


def write(
    folder: Path, strategy: str, target: str, seed: int, score: float, seconds: float, config: dict, **changes: object
) -> None:
    """One record of a finished run."""
    axes = {"source": "mnist5k", "target": target, "strategy": strategy, "backbone": "convnet", "seed": seed}
    run_id = sha256(json.dumps([axes, config]).encode()).hexdigest()[:10]
    scores = {"epoch": EPOCHS - 1, "val/accuracy": score - 0.01, "test/accuracy": score, "test/loss": 1 - score}
    record = {
        "schema": 2,
        "run_id": run_id,
        "study": "made_up",
        "status": "finished",
        "reason": "",
        "axes": axes,
        "config": {"batch_size": 32, "strategy": {"losses": {}}, **config, "seed": seed, "study": "made_up"},
        "overrides": [],
        "metrics": {"selected": {"rule": "last", **scores}, "last": scores, "oracle": {**scores, "rule": "oracle"}},
        "history": [epoch(number, score, strategy) for number in range(EPOCHS)],
        "forgetting": {"source_accuracy_before": 0.9, "source_accuracy_after": 0.8, "samples": 9},
        "cost": {
            "seconds": seconds,
            "samples": 1000,
            "trainable_parameters": 1_000 if strategy == "linear_probe" else 2_000_000,
            "total_parameters": 2_000_000,
            "flops": int(seconds * 1e9),
            "peak_memory_bytes": 5_000_000,
        },
        "rules": {rule: ruled(rule, score, seed) for rule in RULES},
        "data": {},
        "environment": {},
        "tracker": {"kind": "none"},
    }
    if "oracle" in changes:
        record["metrics"]["oracle"] = changes.pop("oracle")
    record.update(changes)
    place = folder / run_id
    place.mkdir(parents=True)
    (place / "run.json").write_text(json.dumps(record))


def ruled(rule: str, score: float, seed: int) -> dict[str, object]:
    """What a rule would have chosen."""
    tested = score - 0.01 * RULES.index(rule)
    return {
        "epoch": seed,
        "score": tested - 0.1,
        "collapsed": seed == 1,
        "test/accuracy": tested,
        "test/loss": 1 - tested,
    }


def epoch(number: int, score: float, strategy: str) -> dict[str, object]:
    """A row of a history; diagnostics in the first epoch and the last."""
    row: dict[str, object] = {
        "epoch": number,
        "train/task_loss": 2 / (1 + number),
        "val/accuracy": score * number / EPOCHS,
    }
    if number in (0, EPOCHS - 1):
        row |= {f"diagnostics/drift/{stage}": 0.1 * number * score for stage in STAGES}
        row["diagnostics/feature_rank"] = 10 * score
    trainable = STAGES[-1:] if strategy == "linear_probe" else STAGES
    return {**row, "trainable": list(trainable), "lr": {"backbone/stem": 0.01, "backbone/body": 0.01, "head": 0.01}}
