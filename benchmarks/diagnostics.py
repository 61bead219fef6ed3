"""The time of a run with every diagnostic at its default rate, beside the same run with none.

A run's time is what its process works from the command to the record, imports left out: processor time, which unlike
the clock does not grow when somebody else uses the machine. Both take turns, each turn a process of its own; a turn
before them, which does not count, pretrains the source and sets its exam. The figure is the median of the rounds'
ratios; beside it stands the share of the run's seconds that the records of the runs call `diagnostics_seconds`.

    python benchmarks/diagnostics.py [--rounds 5] [--threads 1] [--case quickstart]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

LIMIT = 1.10  # of the time without diagnostics
DIGITS = ["source=mnist5k", "target=digits", "target.labels=10", "optimizer.lr=0.03", "trainer.max_epochs=40"]
RANDOM = ["source=none", "target=npz", "target.labels=all", "backbone=resnet18", "backbone.input.shape=[3,32,32]"]
CASES = {
    "quickstart": [*DIGITS, "strategy=l2_sp"],
    "joint": [*DIGITS, "strategy=joint"],
    "linear_probe": [*DIGITS, "strategy=linear_probe"],
    "resnet18": [*RANDOM, "strategy=full_finetune", "trainer.max_epochs=4"],
}


def main() -> None:
    """Take turns in each case, print a line a round and one JSON line a case; exit 1 if one is above the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--case", choices=CASES, action="append")
    parser.add_argument("--turn", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.turn:
        print(json.dumps(worked(args.turn)))
        return
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder))
        lines = [measured(case, Path(folder), args.rounds, args.threads) for case in args.case or CASES]
    print("\n".join(json.dumps(line) for line in lines))
    sys.exit(int(any(line["ratio"] < line["limit"] for line in lines)))


def measured(case: str, folder: Path, rounds: int, threads: int) -> dict:
    """Ours with all diagnostics, the peer without."""
    turn(case, "all", "warm-up", folder, threads)
    costs: dict[str, list[dict]] = {"all": [], "none": []}
    for number in range(rounds):
        for choice in ("all", "none") if number % 2 == 0 else ("none", "all"):
            costs[choice].append(turn(case, choice, str(number), folder, threads))
        ours, peer = (costs[choice][-1]["worked"] for choice in ("all", "none"))
        print(f"{case}, round {number + 1}: all {ours:.2f} s, none {peer:.2f} s", flush=True)
    ours_s, peer_s = (median(cost["worked"] for cost in costs[choice]) for choice in ("all", "none"))
    ratios = sorted(a["worked"] / b["worked"] for a, b in zip(costs["all"], costs["none"], strict=True))
    said = median(cost["diagnostics_seconds"] / cost["seconds"] for cost in costs["all"])
    return {
        "benchmark": "diagnostics",
        "case": f"{case} cpu, {threads} thread{'s' if threads > 1 else ''}",
        "ours_s": round(ours_s, 4),
        "peer": "diagnostics=none",
        "peer_s": round(peer_s, 4),
        "ratio": round(1 / median(ratios), 4),
        "limit": round(1 / LIMIT, 4),
        "ours_over_peer": {"median": round(median(ratios), 4), "min": round(ratios[0], 4), "max": round(ratios[-1], 4)},
        "diagnostics_share_by_record": round(said, 4),
    }


def turn(case: str, choice: str, number: str, folder: Path, threads: int) -> dict:
    """One process; what its record says of the cost."""
    study = f"{case}-{choice}-{number}"
    words = [*CASES[case], f"diagnostics={choice}", f"study={study}", f"paths.runs={folder}/runs", "tracker=none"]
    words += [f"target.data.path={folder}/images.npz"] if "target=npz" in words else []
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, __file__, "--turn", *words, "trainer.accelerator=cpu"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(done.stderr)
    (file,) = (folder / "runs" / study).glob("*/run.json")
    cost = json.loads(file.read_text())["cost"]
    return {**cost, "worked": json.loads(done.stdout.strip().splitlines()[-1])}


def worked(words: list[str]) -> float:
    """The processor seconds of the real command."""
    import transferlab.train  # noqa: F401  (so that the imports do not count)
    from transferlab import cli

    started = time.process_time()
    if cli.main(["train", *words]):
        sys.exit("the run failed")
    return time.process_time() - started


def write_images(folder: Path) -> None:
    """1,000 random images of CIFAR's shape for training, as many for the test, with ten classes."""
    x = np.random.default_rng(0).integers(0, 256, (2000, 32, 32, 3), dtype=np.uint8)
    y = np.arange(2000) % 10
    np.savez(folder / "images.npz", x_train=x[:1000], y_train=y[:1000], x_test=x[1000:], y_test=y[1000:])


if __name__ == "__main__":
    main()
