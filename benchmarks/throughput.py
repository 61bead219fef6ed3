"""What a run costs beside its training: a study of 100 runs of about a second each, by the real command.

Full fine-tuning on digits from a source that is pretrained before; defaults, with W&B offline and diagnostics; 90 test
images, so that scoring them is next to nothing. Two ways, each a process of its own:

    one  one run after another in the command's own process
    two  hydra/launcher=joblib, two processes

Training is `cost.fit_seconds` of the records: epochs with their validation. All else is overhead: the process and its
imports, composing, the plan, data, net, tracker, checkpoints, diagnostics, the test, the record. What two processes
could do at best is half of what one took in the same round.

Seconds are the clock's, which want the machine for themselves; `cpu` are those of the command's own process.

    python benchmarks/throughput.py [--rounds 3] [--runs 100] [--epochs 2] [--threads 1]
"""

import argparse
import json
import os
import platform
import time

import command
import turns
from turns import spread

OVERHEAD, BY_IDEAL = 0.25, 1.15  # seconds a run; times half of one process
WAYS = ("source", "one", "two")


def main() -> None:
    """Take turns, print two JSON lines; exit 1 while a promise is missed."""
    parser = turns.parser(__doc__)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=2, help="of a run: so many that it trains for about a second")
    args = parser.parse_args()
    if args.turn:
        print(json.dumps(measured(args)))
        return
    found = turns.taken(WAYS, args, in_order=True)
    one, two = found["one"], found["two"]
    cost = spread([(turn["seconds"] - turn["training"]) / args.runs for turn in one])
    cpu = spread([(turn["cpu"] - turn["training_cpu"]) / args.runs for turn in one])
    before = spread([turn["before_first"] for turn in one])
    ideal = [turn["seconds"] / 2 for turn in one]
    ratio = spread([turn["seconds"] / best for turn, best in zip(two, ideal, strict=True)])
    by_training = spread([turn["seconds"] / (turn["training"] / 2) for turn in two])
    promises = [
        {"overhead": cost, "overhead_cpu": cpu, "before_first": before, "promised": OVERHEAD},
        {"by_ideal": ratio, "ideal": spread(ideal), "by_half_training": by_training, "promised": BY_IDEAL},
    ]
    kept = [{"kept": figure["median"] <= limit} for figure, limit in ((cost, OVERHEAD), (ratio, BY_IDEAL))]
    lines = [said(args, *every) for every in zip((one, two), promises, kept, strict=True)]
    turns.ended(lines)


def said(args: argparse.Namespace, found: list[dict], promise: dict, kept: dict) -> dict:
    """Print the figures of a way, and give them back."""
    seconds = spread([turn["seconds"] for turn in found])
    training = spread([turn["training"] / args.runs for turn in found])
    about = {"way": found[0]["way"], "runs": args.runs, "machine": f"{platform.machine()}, {os.cpu_count()} cores"}
    return turns.said("throughput", **about, seconds=seconds, training_of_a_run=training, **promise, **kept)


def measured(args: argparse.Namespace) -> dict:
    """A study, or before all studies the source's pretraining."""
    given = ["source=mnist5k", "source.pretrain.max_epochs=1", "target=digits", "target.labels=all", "target.test=0.05"]
    given += ["trainer.accelerator=cpu", "tracker.mode=offline", f"trainer.max_epochs={args.epochs}"]
    given += [f"paths.runs={args.place}/runs", f"paths.cache={args.place}/cache", f"study={args.turn}"]
    if args.turn == "source":
        command.train(*given)
        return {"way": args.turn}
    asked = float(os.environ["TURN_BEGAN"])
    if args.turn == "two":
        command.train("-m", *given, f"seed=range({args.runs})", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
        more = {}
    else:
        began, epochs = watched()
        command.train("-m", *given, f"seed=range({args.runs})")
        more = {"cpu": time.process_time(), "training_cpu": sum(epochs), "before_first": began[0] - asked}
    records = command.records(f"{args.place}/runs/{args.turn}")
    training = sum(record["cost"]["fit_seconds"] for record in records)
    return {"way": args.turn, "seconds": time.time() - asked, "training": training, **more}


def watched() -> tuple[list[float], list[float]]:
    """When each run of this process began from now on, and the processor time of each epoch."""
    from transferlab import jobs
    from transferlab.history import History

    began: list[float] = []
    epochs: list[float] = []
    job, start, end = jobs.job, History.on_train_epoch_start, History.on_train_epoch_end

    def noted_job(config):
        began.append(time.time())
        return job(config)

    def noted_start(self, *given):
        start(self, *given)
        epochs.append(-time.process_time())

    def noted_end(self, *given):
        epochs[-1] += time.process_time()
        end(self, *given)

    jobs.job = noted_job
    History.on_train_epoch_start = noted_start  # type: ignore[method-assign]
    History.on_train_epoch_end = noted_end  # type: ignore[method-assign]
    return began, epochs


if __name__ == "__main__":
    main()
