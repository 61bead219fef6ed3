"""What benchmarks have in common: their options, their turns in processes of their own, medians, and what is promised.

A benchmark names its ways to do one thing. They take turns, so that none is alone with a busy machine; what one way
takes is held against another's in the same round.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from statistics import median

from clock import CLOCK

AIM = 0.85  # of the limit, where no figure is named


def parser(doc: str, rounds: int = 3, threads: int = 1) -> argparse.ArgumentParser:
    """The options of every benchmark, which adds its own; a turn's own process is told its name and a folder.

    Args:
        doc: of the benchmark.
        rounds: by default, how many turns each way has.
        threads: by default, those of a turn.
    """
    found = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--rounds", type=int, default=rounds)
    found.add_argument("--threads", type=int, default=threads)
    found.add_argument("--clock", choices=("processor", "wall"), default="processor", help="whose seconds")
    found.add_argument("--turn", help=argparse.SUPPRESS)
    found.add_argument("--place", help=argparse.SUPPRESS)
    return found


def taken(names, args: argparse.Namespace, in_order: bool = False) -> dict[str, list[dict]]:
    """What each way says of its turns: the script that runs is started again with `--turn NAME --place FOLDER`.

    Args:
        names: of the ways.
        args: rounds, threads and the clock.
        in_order: the ways of a round need what those before them left in the folder; otherwise every second round has
            them in the opposite order.
    """
    found: dict[str, list[dict]] = {name: [] for name in names}
    for number in range(args.rounds):
        with tempfile.TemporaryDirectory() as place:
            for name in names if in_order or number % 2 == 0 else reversed(names):
                found[name].append(turn(name, place, args))
                print(json.dumps({"turn": name, **found[name][-1]}), file=sys.stderr, flush=True)
    return found


def turn(name: str, place: str, args: argparse.Namespace) -> dict:
    """One process; it can read in its environment when it was asked for."""
    own = {"HF_HUB_OFFLINE": "1", "TURN_BEGAN": str(time.time())}
    own |= {CLOCK: args.clock, "OMP_NUM_THREADS": str(args.threads)}
    words = [sys.executable, *sys.argv, "--turn", name, "--place", place]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, **own})
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.strip().splitlines()[-1])


def spread(values) -> dict[str, float]:
    """Median and range."""
    return {"median": tidy(median(values)), "min": tidy(min(values)), "max": tidy(max(values))}


def tidy(value: float) -> float:
    """Five digits."""
    return float(f"{value:.5g}")


def by(found, one: str, other: str, key: str) -> list[float]:
    """A figure of one way by that of another, round by round."""
    pairs = zip(found[one], found[other], strict=True)
    return [mine[key] / theirs[key] for mine, theirs in pairs]


def compared(found, ours: str, peer: str, limit: float | None = None, promised: float | None = None, key="seconds"):
    """The figures of a benchmark: ours, the peer's, the limit, and beside our speed-up the one that is promised.

    Args:
        found: of `taken`.
        ours: name of our way.
        peer: name of the way that a user would take.
        limit: how many times faster than the peer counted operations allow: those that it does by those that have to be
            done. None: they are not counted.
        promised: the least speed-up; None: none.
        key: of the times.
    """
    mine, theirs = ([one[key] for one in found[name]] for name in (ours, peer))
    speed_up = spread(by(found, peer, ours, key))
    line = {"way": ours, key: spread(mine), "peer": peer, f"peer_{key}": spread(theirs), "speed_up": speed_up}
    if limit is not None:
        line |= {f"limit_{key}": tidy(median(theirs) / limit), "limit": tidy(limit)}
        line["share_of_limit"] = tidy(speed_up["median"] / limit)
    if promised is not None:
        line |= {"promised": tidy(promised), "kept": speed_up["median"] >= promised}
    return line


def ended(lines) -> None:
    """End the benchmark, with an error if a promise is not kept."""
    sys.exit(int(any(not line.get("kept", True) for line in lines)))


def said(benchmark: str, **line) -> dict:
    """Print a line, and give it back."""
    print(json.dumps({"benchmark": benchmark, **line}), flush=True)
    return line
