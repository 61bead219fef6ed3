"""24 linear probes on photographs, 4 learning rates x 2 weight decays x 3 seeds, ten epochs each.

    loop      one plain PyTorch loop of a tutorial (see benchmarks/frozen.py), of which 24 would be needed
    together  the real command with hydra/launcher=vectorized and an empty cache, all 24
    again     the same on the cache that is there: another study
    one_by_one  the same on the cache that is there, by Hydra's own launcher

Seconds are processor time of data and fit, without imports, Hydra and the process. `limit` is what counted operations
allow: those of 24 loops by those of one pass over each image.

    python benchmarks/sweep.py [--folder DIR] [--net efficientnet_lite0|resnet50] [--side 224] [--rounds 1]
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import frozen
from turns import by, spread, taken

WAYS = ("loop", "together", "one_by_one", "again")
RUNS = 24


def main() -> None:
    """Take turns, print a JSON line for each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = Path(os.environ.get("TRANSFERLAB_DATA", "data"))
    parser.add_argument("--folder", type=Path, default=data / "office_caltech10" / "amazon")
    parser.add_argument("--net", choices=("efficientnet_lite0", "resnet50"), default="efficientnet_lite0")
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--labels", type=int, default=25, help="a class")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turn", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--place", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.turn:
        print(json.dumps(frozen.loop(args) if args.turn == "loop" else command(args)))
        return
    # in this order in every round: what the first leaves in the cache is there for the others
    found = {name: [] for name in WAYS}
    for _ in range(args.rounds):
        for name, turns in taken(WAYS, 1, args.threads).items():
            found[name] += turns
    loops = [RUNS * one["seconds"] for one in found["loop"]]
    limit = RUNS * frozen.passes(args, again=True) / (frozen.passes(args, again=False) + 2 * args.labels * 10)
    for name in WAYS:
        line = {"benchmark": "sweep", "net": args.net, "way": name}
        line["seconds"] = spread([one["seconds"] for one in found[name]])
        if name != "loop":
            ratios = [loop / one["seconds"] for loop, one in zip(loops, found[name], strict=True)]
            line["24_loops_by_this"] = spread(ratios)
        if name == "together":
            line["limit"] = round(limit, 1)
        if name == "again":
            line["one_by_one_by_this"] = spread(by(found, "one_by_one", "again", "seconds"))
        print(json.dumps(line))


def command(args: argparse.Namespace) -> dict:
    """The real command: what its runs take, between them and together, without Hydra's part."""
    from transferlab import cli, train
    from transferlab.together import training

    spent: list[float] = []

    def timed(function):
        def wrapped(*given):
            began = time.process_time()
            try:
                return function(*given)
            finally:
                spent.append(time.process_time() - began)

        return wrapped

    train.run, training.together = timed(train.run), timed(training.together)
    words = [*frozen.target(args), "strategy=linear_probe", "diagnostics=none", "tracker=none", "optimizer=adam"]
    words += [f"trainer.max_epochs={args.epochs}", "scheduler=constant", "trainer.accelerator=cpu", "cache=on"]
    words += [f"paths.runs={args.place}/{args.turn}", f"paths.cache={args.place}/cache", "study=s"]
    words += ["optimizer.lr=0.001,0.002,0.005,0.01", "optimizer.weight_decay=0,0.001", "seed=0,1,2"]
    words += [] if args.turn == "one_by_one" else ["hydra/launcher=vectorized"]
    if cli.main(["train", "-m", *words]):
        sys.exit("the sweep failed")
    records = [json.loads(file.read_text()) for file in Path(args.place, args.turn, "s").glob("*/run.json")]
    scores = [record["metrics"]["last"]["test/accuracy"] for record in records]
    return {"seconds": sum(spent), "runs": len(scores), "accuracy": round(sum(scores) / len(scores), 4)}


if __name__ == "__main__":
    main()
