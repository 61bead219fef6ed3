"""What scores of transferability cost: LogME beside its published loops, and all scores beside the forward pass.

`logme` takes the same drawn features three ways: our function; the loop over classes of You et al. 2021, "LogME"
(ICML), algorithm 1, which passes over all features in each of its steps; and the fixed point of "Ranking and Tuning
Pre-trained Models" (arXiv:2110.10545), which does not. Both peers stop early, so that their evidence may lie a little
below ours.

`pass` ranks one candidate by the real command, without a cache and without intervals: seconds in which samples were
read and passed through the net, and in which they were scored. `small` is the same with a net whose pass costs next to
nothing: nothing is promised of it. Libraries are imported before, as torch is.

    python benchmarks/scores.py [--case logme] [--samples 50000] [--features 2048] [--classes 100] [--rounds 1]
"""

import argparse
import json
import os
import resource
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
from clock import leave_out_imports, now, worked
from command import QUIET
from turns import compared, ended, parser, said, spread, taken

FASTER, MOST_BYTES = 5.0, 4e9  # promised of LogME beside the loop over classes, and of its process
ROUNDS = 11  # of the peers' steps, at most
TOLERANCE = {"per_class": 1e-2, "fixed_point": 1e-3}  # what they stop at, in the authors' code
CANDIDATE = ("target=digits", "source=mnist5k", "source.pretrain.max_epochs=1", "source.pretrain.target.labels=10")
LIBRARIES = (
    "ot",
    "sklearn.covariance",
    "sklearn.linear_model",
    "sklearn.metrics",
    "sklearn.mixture",
    "sklearn.neighbors",
)
NETS = {"pass": ("backbone=resnet18", "backbone.input.shape=[3,64,64]"), "small": ("backbone=convnet",)}


def main() -> None:
    """A line a case, in JSON; exit 1 where a promise is not kept."""
    options = parser(__doc__ or "", rounds=1)
    options.add_argument("--case", choices=("logme", *NETS), action="append")
    options.add_argument("--samples", type=int, default=50_000)
    options.add_argument("--features", type=int, default=2048)
    options.add_argument("--classes", type=int, default=100)
    args = options.parse_args()
    if args.turn:
        leave_out_imports()
        print(json.dumps(TURNS[args.turn](args)))
        return
    cases = args.case or ("logme", *NETS)
    ended([line for case in cases for line in (logme_lines(args) if case == "logme" else pass_lines(case, args))])


def logme_lines(args: argparse.Namespace) -> list[dict]:
    """LogME beside each of its peers, and the memory that its process held."""
    found = taken(("ours", "per_class", "fixed_point"), args)
    case = f"{args.samples} samples x {args.features} features, {args.classes} classes"
    evidence = {name: turns[0]["evidence"] for name, turns in found.items()}
    most = max(one["peak_bytes"] for one in found["ours"])
    loop = compared(found, "ours", "per_class", promised=FASTER)
    loop["kept"] = loop["kept"] and most < MOST_BYTES
    return [
        said("logme", case=case, peak_bytes=most, evidence=evidence, **loop),
        said("logme", case=case, **compared(found, "ours", "fixed_point", promised=1.0)),
    ]


def pass_lines(case: str, args: argparse.Namespace) -> list[dict]:
    """The seconds of all scores of a candidate beside those of its forward pass."""
    found = taken((case,), args)[case]
    shares = spread([one["scores"] / one["forward"] for one in found])
    line = {name: spread([one[name] for one in found]) for name in ("forward", "scores")}
    longest = sorted(found[0]["each"].items(), key=lambda item: -item[1])[:4]
    line |= {"samples": found[0]["samples"], "share_of_pass": shares, "longest": dict(longest)}
    promised = {"promised": 1.0, "kept": shares["median"] < 1} if case == "pass" else {}
    return [said("all scores", case=" ".join(NETS[case]), **line, **promised)]


def timed(score: Callable[[np.ndarray, np.ndarray], float]) -> Callable[[argparse.Namespace], dict]:
    """A turn of a way to take LogME."""

    def turn(args: argparse.Namespace) -> dict:
        rng = np.random.default_rng(0)
        y = rng.integers(args.classes, size=args.samples)
        features = rng.standard_normal((args.samples, args.features))
        features += rng.standard_normal((args.classes, args.features))[y] / 10
        began = worked()
        evidence = score(features, y)
        return {"seconds": worked() - began, "evidence": evidence, "peak_bytes": peak()}

    return turn


def ours(features: np.ndarray, y: np.ndarray) -> float:
    """The project's."""
    from transferlab.transferability.candidate import Candidate
    from transferlab.transferability.logme import logme

    return logme(Candidate(features, y))


def per_class(features: np.ndarray, y: np.ndarray) -> float:
    """The loop over classes: means of weights and residuals of all samples in every step."""
    samples, size = features.shape
    axes, squares, _ = np.linalg.svd(features.T @ features)
    found = []
    for label in range(int(y.max()) + 1):
        target = (y == label).astype(float)
        turned = axes.T @ (features.T @ target)
        alpha = beta = 1.0
        for _ in range(ROUNDS):
            ratio = alpha / beta
            freedom = (beta * squares / (alpha + beta * squares)).sum()
            weights = axes @ (beta * turned / (alpha + beta * squares))
            length, error = weights @ weights, ((features @ weights - target) ** 2).sum()
            alpha, beta = freedom / length, (samples - freedom) / error
            if abs(alpha / beta - ratio) < TOLERANCE["per_class"] * ratio:
                break
        found.append(evidence(alpha, beta, squares, error, length, samples, size))
    return float(np.mean(found))


def fixed_point(features: np.ndarray, y: np.ndarray) -> float:
    """The same steps along the features' own axes, where none passes over the samples."""
    samples, size = features.shape
    _, squares, axes = np.linalg.svd(features.T @ features)
    left = features @ axes.T / np.sqrt(squares)
    found = []
    for label in range(int(y.max()) + 1):
        target = (y == label).astype(float)
        parts = (left.T @ target) ** 2
        rest = target @ target - parts.sum()
        alpha = beta = 1.0
        for _ in range(ROUNDS):
            ratio = alpha / beta
            freedom = (squares / (squares + ratio)).sum()
            length = (squares * parts / (squares + ratio) ** 2).sum()
            error = rest + (parts * (ratio / (squares + ratio)) ** 2).sum()
            alpha, beta = freedom / length, (samples - freedom) / error
            if abs(alpha / beta - ratio) <= TOLERANCE["fixed_point"] * ratio:
                break
        found.append(evidence(alpha, beta, squares, error, length, samples, size))
    return float(np.mean(found))


def evidence(
    alpha: float, beta: float, squares: np.ndarray, error: float, length: float, samples: int, size: int
) -> float:
    """Of one class, a sample."""
    logs = size * np.log(alpha) + samples * np.log(beta / (2 * np.pi)) - np.log(alpha + beta * squares).sum()
    return float((logs - beta * error - alpha * length) / (2 * samples))


def candidate(args: argparse.Namespace) -> dict:
    """A turn of the real command."""
    from transferlab import cli

    place = Path(args.place)
    os.chdir(place)
    time.perf_counter = now  # the command's own seconds, by the clock that was asked for
    for name in LIBRARIES:
        import_module(name)
    words = [*CANDIDATE, *NETS[args.turn], *(word for word in QUIET if "diagnostics" not in word)]
    if cli.main(["rank", *words, "bootstrap=0", "cache=off", "study=timed"]):
        raise SystemExit("the ranking failed")
    (file,) = place.glob("runs/timed/ranking/*/ranking.json")
    (row,) = json.loads(file.read_text())["rows"]
    each = dict(row["seconds"])
    forward = each.pop("forward")
    samples = [row["samples"], row["source_samples"]]
    return {"forward": forward, "scores": sum(each.values()), "each": each, "samples": samples}


def peak() -> int:
    """The most bytes that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


TURNS: dict[str, Callable[[argparse.Namespace], dict]] = {
    **{one.__name__: timed(one) for one in (ours, per_class, fixed_point)},
    **dict.fromkeys(NETS, candidate),
}

if __name__ == "__main__":
    main()
