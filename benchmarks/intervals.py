"""How often intervals that promise 95 % hold the truth: ours beside the bootstrap intervals that SciPy has.

The mean of n normal scores is estimated in 2,000 made-up studies; the standard error of a share is half a point.

    python benchmarks/intervals.py [--studies 2000]
"""

import argparse
import json

import numpy as np
from scipy import stats

from transferlab.compare.statistics import FEWEST_FOR_BOOTSTRAP, bootstrap, student


def main() -> None:
    """One JSON line for each number of seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=2_000)
    studies = parser.parse_args().studies
    rng = np.random.default_rng(0)
    for n in (3, 5, 10, 20):
        held = dict.fromkeys(("student", "studentised bootstrap", "percentile", "bca"), 0)
        for _ in range(studies):
            scores = rng.normal(size=n)
            for name, interval in (("student", student(scores)), ("studentised bootstrap", bootstrap(scores))):
                held[name] += interval.low <= 0 <= interval.high
            for name in ("percentile", "bca"):
                found = stats.bootstrap((scores,), np.mean, n_resamples=999, method=name, rng=rng).confidence_interval
                held[name] += found.low <= 0 <= found.high
        shares = {name: round(count / studies, 3) for name, count in held.items()}
        if n < FEWEST_FOR_BOOTSTRAP:
            del shares["studentised bootstrap"]  # gives no bounds there
        print(json.dumps({"benchmark": "intervals", "case": f"{n} seeds", "covered": shares, "promised": 0.95}))


if __name__ == "__main__":
    main()
