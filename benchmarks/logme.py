"""What LogME costs beside the published fixed-point algorithm, on the same features: CPU seconds of one process.

The peer decomposes the features by F^T F and iterates on alpha and beta of each class, as You et al. 2021, "Ranking and
Tuning Pre-trained Models" (arXiv:2110.10545), describe it. Both are timed in turns; CPU time, so that other work on the
machine counts less. Scores are compared too: both are maxima of one evidence, the peer's iteration stops early.

    OMP_NUM_THREADS=1 python benchmarks/logme.py [--samples 10000] [--features 2048] [--classes 10] [--rounds 1]
"""

import argparse
import json
import time
from collections.abc import Callable

import numpy as np

from transferlab.transferability.candidate import Candidate
from transferlab.transferability.logme import logme

LIMIT = 1.0  # peer's time over ours, at least


def main() -> None:
    """One line, in JSON; exit 1 where ours is slower."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--features", type=int, default=2048)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=1)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    y = rng.integers(args.classes, size=args.samples)
    features = rng.normal(size=(args.samples, args.features)) + rng.normal(size=(args.classes, args.features))[y] / 10
    ours, peers = [], []
    for _ in range(args.rounds):
        ours.append(timed(lambda: logme(Candidate(features, y))))
        peers.append(timed(lambda: fixed_point(features, y)))
    ours_s, peer_s = (float(np.median([seconds for seconds, _ in runs])) for runs in (ours, peers))
    line = {
        "benchmark": "logme",
        "case": f"{args.samples} samples x {args.features} features, {args.classes} classes",
        "ours_s": round(ours_s, 2),
        "peer": "fixed-point iteration on an SVD by F^T F",
        "peer_s": round(peer_s, 2),
        "ratio": round(peer_s / ours_s, 2),
        "limit": LIMIT,
        "scores": [ours[0][1], peers[0][1]],
    }
    print(json.dumps(line))
    if peer_s / ours_s < LIMIT:
        raise SystemExit(1)


def timed(score: Callable[[], float]) -> tuple[float, float]:
    """CPU seconds, and the score."""
    began = time.process_time()
    found = score()
    return time.process_time() - began, found


def fixed_point(features: np.ndarray, y: np.ndarray, rounds: int = 11, tolerance: float = 1e-3) -> float:
    """The mean evidence a sample where alpha and beta of each class stand still, or after some rounds."""
    samples, size = features.shape
    _, squares, axes = np.linalg.svd(features.T @ features)
    left = features @ axes.T / np.sqrt(squares)
    found = []
    for label in range(int(y.max()) + 1):
        target = (y == label).astype(float)
        parts = (left.T @ target) ** 2
        rest = target @ target - parts.sum()
        alpha = beta = 1.0
        for _ in range(rounds):
            ratio = alpha / beta
            freedom = (squares / (squares + ratio)).sum()
            length = (squares * parts / (squares + ratio) ** 2).sum()
            error = rest + (parts * (ratio / (squares + ratio)) ** 2).sum()
            alpha, beta = freedom / length, (samples - freedom) / error
            if abs(alpha / beta - ratio) <= tolerance * ratio:
                break
        logs = size * np.log(alpha) + samples * np.log(beta / (2 * np.pi)) - np.log(alpha + beta * squares).sum()
        found.append((logs - beta * error - alpha * length) / (2 * samples))
    return float(np.mean(found))


if __name__ == "__main__":
    main()
