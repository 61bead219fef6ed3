"""24 linear probes on photographs, 4 learning rates x 2 weight decays x 3 seeds, ten epochs each.

    loop      one plain PyTorch loop of a tutorial (see benchmarks/frozen.py), of which 24 would be needed
    together  the real command with hydra/launcher=vectorized and an empty cache, all 24
    again     the same on the cache that is there: another study
    one_by_one  the same on the cache that is there, by Hydra's own launcher

Seconds are processor time of data and fit, without imports and Hydra. `limit` is what counted operations
allow: those of 24 loops by those that all runs cannot do without, see benchmarks/frozen.py.

    python benchmarks/sweep.py [--folder DIR] [--net efficientnet_lite0|resnet50] [--side 224] [--rounds 1]
"""

import argparse
import json

import command
import operations
import photographs
import turns
from clock import leave_out_imports
from frozen import loop

RUNS = 24
# the way, the peer, how many times faster it is to be; the first leaves the cache that the others find
PROMISED = (
    ("together", "loops", 200),
    ("one_by_one", "loops", None),
    ("again", "loops", None),
    ("again", "one_by_one", 5),
)


def main() -> None:
    """Take turns, print a JSON line for each way and peer; exit 1 while a promise is missed."""
    parser = photographs.options(turns.parser(__doc__, rounds=1))
    parser.add_argument("--epochs", type=int, default=10)
    args = parser.parse_args()
    if args.turn:
        leave_out_imports()
        print(json.dumps(loop(args) if args.turn == "loop" else sweep(args)))
        return
    found = turns.taken(("loop", "together", "one_by_one", "again"), args, in_order=True)
    found["loops"] = [{key: RUNS * one[key] for key in ("seconds", "operations")} for one in found["loop"]]
    lines = []
    for name, peer, promised in PROMISED:
        limit = found["loops"][0]["operations"] / found[name][0]["operations"] if peer == "loops" else None
        line = turns.compared(found, name, peer, limit, promised) | {"accuracy": found[name][0]["accuracy"]}
        lines.append(turns.said("sweep", net=args.net, **line))
    turns.ended(lines)


def sweep(args: argparse.Namespace) -> dict:
    """The real command: what its runs take, between them and together, without Hydra's part."""
    from transferlab.together import training

    spent = command.of_data_and_fit((training, "together"))
    words = [*photographs.target(args), *command.QUIET, "strategy=linear_probe", "optimizer=adam", "cache=on"]
    words += [f"trainer.max_epochs={args.epochs}", "scheduler=constant", "study=s"]
    words += [f"paths.runs={args.place}/{args.turn}", f"paths.cache={args.place}/cache"]
    words += ["optimizer.lr=0.001,0.002,0.005,0.01", "optimizer.weight_decay=0,0.001", "seed=0,1,2"]
    command.train("-m", *words, *([] if args.turn == "one_by_one" else ["hydra/launcher=vectorized"]))
    records = command.records(f"{args.place}/{args.turn}/s")
    made = 0 if args.turn != "together" else operations.of_features(args, range(3))
    scores = [record["metrics"]["last"]["test/accuracy"] for record in records]
    return {
        "seconds": spent(),
        "runs": len(scores),
        "accuracy": round(sum(scores) / len(scores), 4),
        "operations": sum(operations.of_run(args, one, again=True) for one in records) + made,
    }


if __name__ == "__main__":
    main()
