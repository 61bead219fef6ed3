"""Ways to do the same thing take turns, each in a process of its own, so that none is alone with a busy machine."""

import json
import os
import subprocess
import sys
import tempfile
from statistics import median


def taken(names, rounds: int, threads: int = 1) -> dict[str, list[dict]]:
    """What each way says of its turns: the script that runs is started again with `--turn NAME --place FOLDER`.

    Args:
        names: of the ways; every second round has them in the opposite order.
        rounds: how many turns each has.
        threads: of each process.
    """
    found: dict[str, list[dict]] = {name: [] for name in names}
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as place:
            for name in names if number % 2 == 0 else reversed(names):
                words = [sys.executable, *sys.argv, "--turn", name, "--place", place]
                done = subprocess.run(words, capture_output=True, text=True, env=environment)
                if done.returncode:
                    sys.exit(done.stderr)
                found[name].append(json.loads(done.stdout.strip().splitlines()[-1]))
                print(json.dumps({"turn": name, **found[name][-1]}), file=sys.stderr, flush=True)
    return found


def spread(values) -> dict[str, float]:
    """Median and range."""
    return {"median": round(median(values), 4), "min": round(min(values), 4), "max": round(max(values), 4)}


def by(found, one: str, other: str, key: str) -> list[float]:
    """A figure of one way by that of another, round by round."""
    pairs = zip(found[one], found[other], strict=True)
    return [mine[key] / theirs[key] for mine, theirs in pairs]
