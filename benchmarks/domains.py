"""Losses of domain adaptation beside the way in which libraries compute them.

    mk_mmd   MK-MMD, 256 samples a side, 2048 features, five Gaussian kernels, forward and backward
    jmmd     JMMD of the same features and of predictions for 65 classes, likewise
    dann     a whole step of DANN, ResNet-18 on 32 + 32 images of 64 pixels, beside a plain loop with the same losses

A library has an object for each kernel, which broadcasts all pairs of samples to a tensor of samples x samples x
features. With `--peer once` these distances are taken once for all kernels, as scripts do that have no such objects.
Both take the same numbers in float32, with the mean of squared distances as the middle width. The target's features lie
one standard deviation off; where the domains lie nearer, the kernels' means cancel, and the peer loses digits.

Seconds are processor time: of the peer one evaluation, which is all that memory and patience allow; of ours the median.
Memory is by how much the process grew at its most from before the first evaluation on, with the gradients; torch itself
is not in it. Each way has a process of its own. Promised: 500 times faster, in a hundredth of the memory, with values
that agree to 1e-5. Of the step it is the fastest of a process, the real command's with memory, layout and optimiser
chosen by itself; promised: at most 1.10 of the loop's.

    python benchmarks/domains.py [--case mk_mmd] [--peer once] [--rounds 1] [--repeats 20] [--threads 1]

The peer takes up to 18 GB, with `--peer once` 9 GB.
"""

import argparse
import json
import resource
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import command
import numpy as np
import turns
from clock import worked

SAMPLES, FEATURES, CLASSES = 256, 2048, 65  # of each side
KERNELS, FACTOR, OUTPUT_WIDTH = 5, 2.0, 1.68
BROADCAST = "_broadcast"
FASTER, SMALLER, APART = 500, 100, 1e-5
STEP, PIXELS, WIDTHS, WARM_UP = 1.10, 64, (1024, 1024), 3
LR, MOMENTUM, DECAY, BATCH = 0.01, 0.9, 1e-4, 32


def main() -> None:
    """Take turns, print a JSON line a case; exit 1 while a promise is missed."""
    parser = turns.parser(__doc__, rounds=1)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--peer", choices=("each", "once"), default="each", help="distances for each kernel, or once")
    parser.add_argument("--case", choices=CASES, action="append")
    args = parser.parse_args()
    if args.turn:
        case = args.turn.removesuffix(BROADCAST)
        print(json.dumps(CASES[case][0](case, args.turn != case, args)))
        return
    cases = args.case or list(CASES)
    turns.ended([turns.said("domains", **CASES[case][1](case, args)) for case in cases])


def discrepancy(case: str, usual: bool, args: argparse.Namespace) -> dict:
    """Seconds of an evaluation, bytes that it takes, and the value."""
    evaluate, sides = broadcast(case, args.peer) if usual else ours(case), drawn()
    if not usual:
        evaluate([side[:8] for side in sides])  # what is loaded at first use is no part of it
    before, seconds, value = peak(), [], 0.0
    for _ in range(1 if usual else args.repeats):
        leaves = [side.clone().requires_grad_() for side in sides]
        began = worked()
        found = evaluate(leaves)
        found.backward()
        seconds.append(worked() - began)
        value = found.item()
    return {"seconds": median(seconds), "bytes": peak() - before, "value": value}


def discrepancies(case: str, args: argparse.Namespace) -> dict:
    """A case's figures beside what is promised."""
    found = turns.taken((case, case + BROADCAST), args)
    line = turns.compared(found, case, case + BROADCAST, promised=FASTER)
    mine, usual = found[case], found[case + BROADCAST]
    less = median(turns.by(found, case + BROADCAST, case, "bytes"))
    apart = max(abs(a["value"] - b["value"]) / abs(b["value"]) for a, b in zip(mine, usual, strict=True))
    kept = line["kept"] and less >= SMALLER and apart <= APART
    sizes = {"bytes": median(one["bytes"] for one in mine), "peer_bytes": median(one["bytes"] for one in usual)}
    return {
        "case": f"{case}, {SAMPLES} + {SAMPLES} samples x {FEATURES} features, {args.threads} threads",
        "distances": args.peer,
        **line,
        **sizes,
        "times_less_memory": turns.tidy(less),
        "promised_less_memory": SMALLER,
        "apart": turns.tidy(apart),
        "promised_apart": APART,
        "kept": kept,
    }


def drawn() -> list[Any]:
    """Features and logits of the source, features and logits of the target."""
    import torch

    draw = torch.Generator().manual_seed(0)
    sizes = (FEATURES, CLASSES, FEATURES, CLASSES)
    return [torch.randn(SAMPLES, size, generator=draw) + (i == 2) for i, size in enumerate(sizes)]


def ours(case: str) -> Callable[[list[Any]], Any]:
    """The project's own functions."""
    from transferlab.losses.domains.jmmd import jmmd
    from transferlab.losses.domains.kernels import Gaussians
    from transferlab.losses.domains.mk_mmd import mk_mmd

    of = Gaussians("", KERNELS, FACTOR, "mean")
    of_outputs = Gaussians("", 1, FACTOR, OUTPUT_WIDTH)

    def joint(sides: list[Any]) -> Any:
        predictions = sides[1].softmax(1), sides[3].softmax(1)
        return jmmd([(sides[0], sides[2]), predictions], [of, of_outputs], "quadratic")

    return {"mk_mmd": lambda sides: mk_mmd(sides[0], sides[2], of, "quadratic"), "jmmd": joint}[case]


def broadcast(case: str, peer: str) -> Callable[[list[Any]], Any]:
    """By a tensor of all pairs of samples times all features."""
    import torch

    def squares(rows: Any) -> Any:
        return ((rows[None] - rows[:, None]) ** 2).sum(2)

    def kernel(source: Any, target: Any, kernels: int, width: float | None) -> Any:
        rows = torch.cat([source, target])
        total: Any = 0
        for number in range(kernels):
            if peer == "each" or number == 0:
                distances = squares(rows)
            middle = distances.detach().sum() / (len(rows) * (len(rows) - 1)) if width is None else width
            total = total + torch.exp(-distances / (middle * FACTOR ** (number - kernels // 2)))
        return total

    def evaluate(sides: list[Any]) -> Any:
        found = kernel(sides[0], sides[2], KERNELS, None)
        if case == "jmmd":
            found = found * kernel(sides[1].softmax(1), sides[3].softmax(1), 1, OUTPUT_WIDTH)
        n = len(sides[0])
        return found[:n, :n].mean() + found[n:, n:].mean() - 2 * found[:n, n:].mean()

    return evaluate


def adversarial(case: str, usual: bool, args: argparse.Namespace) -> dict:
    """Seconds of the fastest step."""
    with tempfile.TemporaryDirectory() as folder:
        domains = images(Path(folder), BATCH * (args.repeats + WARM_UP))
        stamps = (plain if usual else commanded)(domains, Path(folder))
    return {"seconds": float(np.diff(stamps)[WARM_UP - 1 :].min())}


def adversarials(case: str, args: argparse.Namespace) -> dict:
    """A step's seconds beside the plain loop's."""
    found = turns.taken((case, case + BROADCAST), args)
    line = turns.compared(found, case, case + BROADCAST, 1.0, 1 / STEP)
    return {"case": f"{case}, resnet18 {PIXELS}x{PIXELS} batch {BATCH} + {BATCH}, {args.threads} threads", **line}


def images(folder: Path, count: int) -> dict[str, tuple[Any, Any]]:
    """Noise of two domains, with labels, as arrays and as files."""
    rng, found = np.random.default_rng(0), {}
    for domain in ("source", "target"):
        x, y = rng.integers(0, 256, (count, PIXELS, PIXELS, 3), dtype=np.uint8), np.arange(count) % 10
        np.savez(folder / f"{domain}.npz", x_train=x, y_train=y, x_test=x[:BATCH], y_test=y[:BATCH])
        found[domain] = x, y
    return found


def commanded(domains: dict[str, tuple[Any, Any]], folder: Path) -> list[float]:
    """When each step of the real command began."""
    stamps = command.steps(worked)
    words = [
        "strategy=dann",
        "strategy.start=random",
        "source=npz",
        f"source.pretrain.target.data.path={folder}/source.npz",
    ]
    words += ["target=npz", f"target.data.path={folder}/target.npz", "target.labels=none", "selection=last"]
    words += ["backbone=resnet18", f"backbone.input.shape=[3,{PIXELS},{PIXELS}]", f"batch_size={BATCH}"]
    words += ["trainer.max_epochs=1", *command.QUIET, f"paths.runs={folder}/runs", f"paths.cache={folder}/cache"]
    words += [f"optimizer.lr={LR}", f"optimizer.momentum={MOMENTUM}", f"optimizer.weight_decay={DECAY}"]
    command.train(*words)
    return stamps


def plain(domains: dict[str, tuple[Any, Any]], folder: Path) -> list[float]:
    """When each step of a loop with no framework in it began."""
    import torch
    import torchvision
    from torch import nn
    from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

    class Reversed(torch.autograd.Function):
        @staticmethod
        def forward(context, x, coefficient):
            context.coefficient = coefficient
            return x.view_as(x)

        @staticmethod
        def backward(context, gradient):
            return -context.coefficient * gradient, None

    x = {name: torch.from_numpy(found[0]).permute(0, 3, 1, 2).contiguous() for name, found in domains.items()}
    y = torch.from_numpy(domains["source"][1])
    net, head, layers, width = torchvision.models.resnet18(), nn.Linear(512, 10), [], 512
    net.fc = nn.Identity()
    for wide in WIDTHS:
        layers += [nn.Linear(width, wide), nn.ReLU()]
        width = wide
    judge = nn.Sequential(*layers, nn.Linear(width, 1))
    parameters = [*net.parameters(), *head.parameters(), *judge.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=LR, momentum=MOMENTUM, weight_decay=DECAY, nesterov=True)
    steps = len(y) // BATCH
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    orders, stamps = [torch.randperm(len(y)).split(BATCH) for _ in range(2)], []
    for number, (mine, theirs) in enumerate(zip(*orders, strict=True)):
        stamps.append(worked())
        source, target = (
            net((x[name][at].float() / 255 - 0.5) / 0.5) for name, at in (("source", mine), ("target", theirs))
        )
        coefficient = 2 / (1 + np.exp(-10 * number / steps)) - 1
        told = [judge(Reversed.apply(one, coefficient))[:, 0] for one in (source, target)]
        domain = (
            sum(binary_cross_entropy_with_logits(one, torch.full_like(one, side)) for side, one in enumerate(told)) / 2
        )
        loss = cross_entropy(head(source), y[mine]) + domain
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
    return stamps


def peak() -> int:
    """The most bytes that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


# What a turn of a case does, and what its line says.
CASES: dict[str, tuple[Callable[..., dict], Callable[..., dict]]] = {
    "mk_mmd": (discrepancy, discrepancies),
    "jmmd": (discrepancy, discrepancies),
    "dann": (adversarial, adversarials),
}

if __name__ == "__main__":
    main()
