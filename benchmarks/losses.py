"""The time and the memory of a training step with each transfer loss, beside the step of the task's loss alone.

Full fine-tuning, ResNet-18, 32x32 images, batches of 64, on the CPU, or on a GPU where there is one. Every loss of
conf/strategy/loss takes part that needs nothing more than a teacher; the others say why they do not. The teacher is a
net of the same kind. Its pass over the batch is the same for all losses of a run, and is counted in the step and also
apart. All take turns, each turn a process of its own: it builds the run's module and does forward, backward and the
optimiser's step on one batch. Seconds are processor time on the CPU, which unlike the clock does not grow when somebody
else uses the machine; a turn gives the median of its steps, the figure is the median of the turns. Memory is the most
that the process held, with its libraries, or on a GPU the most that was allocated.

    python benchmarks/losses.py [--rounds 3] [--steps 10] [--threads 1] [--size 32] [--case bss]
"""

import argparse
import copy
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

CONF = Path(__file__).parents[1] / "conf" / "strategy" / "loss"
BATCH, CLASSES = 64, 10
WARM_UP = 2  # steps of a process that are not counted
BARE = "none"
LIMITS = {"bss": 1.15, "delta": 1.15}  # of the bare step's time, a teacher's pass not counted


def main() -> None:
    """Take turns, print a line a round and one JSON line a case; exit 1 if one is above its limit."""
    names = sorted(file.stem for file in CONF.glob("*.yaml") if not file.name.startswith("_"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--case", choices=names, action="append")
    parser.add_argument("--turn", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.turn:
        print(json.dumps(turn(*args.turn, args)))
        return
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder), args.size)
        lines = measured(args.case or names, folder, args)
    print("\n".join(json.dumps(line) for line in lines))
    sys.exit(int(any(line["limit"] and line["without_teacher"]["median"] > 1 / line["limit"] for line in lines)))


def measured(names: list[str], folder: str, args: argparse.Namespace) -> list[dict]:
    """A line for each loss that takes part."""
    costs: dict[str, list[dict]] = {name: [] for name in (BARE, *names)}
    for number in range(args.rounds):
        order = list(costs) if number % 2 == 0 else list(reversed(costs))
        for name in order:
            cost = in_a_process(name, folder, args)
            if "left_out" in cost:
                print(f"{name} is left out: {cost['left_out']}", flush=True)
                del costs[name]
            else:
                costs[name].append(cost)
        said = ", ".join(f"{name} {cost[-1]['step_s'] * 1e3:.0f}" for name, cost in costs.items())
        print(f"round {number + 1}, ms a step: {said}", flush=True)
    return [line(name, found, costs[BARE], args) for name, found in costs.items() if name != BARE]


def line(name: str, ours: list[dict], bare: list[dict], args: argparse.Namespace) -> dict:
    """Ours is the step with the loss, the peer the step without."""
    whole = [mine["step_s"] / peer["step_s"] for mine, peer in zip(ours, bare, strict=True)]
    alone = [(mine["step_s"] - mine["teacher_s"]) / peer["step_s"] for mine, peer in zip(ours, bare, strict=True)]
    threads = f"{args.threads} thread{'s' if args.threads > 1 else ''}"
    return {
        "benchmark": "losses",
        "case": f"{name} resnet18 {args.size}x{args.size} batch {BATCH} {ours[0]['device']}, {threads}",
        "ours_s": round(median(cost["step_s"] for cost in ours), 5),
        "peer": "the task's loss alone",
        "peer_s": round(median(cost["step_s"] for cost in bare), 5),
        "ratio": round(1 / median(whole), 4),
        "limit": round(1 / LIMITS[name], 4) if name in LIMITS else None,
        "ours_over_peer": spread(whole),
        "without_teacher": spread(alone),
        "teacher_s": round(median(cost["teacher_s"] for cost in ours), 5),
        "ours_bytes": max(cost["peak_bytes"] for cost in ours),
        "peer_bytes": max(cost["peak_bytes"] for cost in bare),
    }


def spread(ratios: list[float]) -> dict[str, float]:
    """Of a case's rounds."""
    return {"median": round(median(ratios), 4), "min": round(min(ratios), 4), "max": round(max(ratios), 4)}


def in_a_process(name: str, folder: str, args: argparse.Namespace) -> dict:
    """What a turn found."""
    words = [sys.executable, __file__, "--turn", name, folder]
    words += [f"--{key}={getattr(args, key)}" for key in ("steps", "threads", "size")]
    environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads)}
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(done.stderr)
    found: dict = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def turn(name: str, folder: str, args: argparse.Namespace) -> dict:
    """Seconds of the median step and of the teachers' in it, and the most bytes held; or why there are none."""
    import torch

    from transferlab import environment
    from transferlab.errors import InputError

    device = "cuda" if torch.cuda.is_available() else "cpu"
    now = clock(device)
    try:
        module, optimizer = built(name, folder, args.size)
    except InputError as error:
        return {"left_out": str(error)}
    module.to(device).train()
    taught = timed_teachers(module, now)
    environment.environment("auto")  # from here on the peak of memory counts
    x, y = torch.randn(BATCH, 3, args.size, args.size, device=device), torch.arange(BATCH, device=device) % CLASSES
    steps, teaching = [], []
    for _ in range(WARM_UP + args.steps):
        taught.clear()
        started = now()
        total = torch.stack(list(module.terms({"target": (x, y)}, 0.5).values())).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        steps.append(now() - started)
        teaching.append(sum(taught))
    return {
        "step_s": median(steps[WARM_UP:]),
        "teacher_s": median(teaching[WARM_UP:]),
        "peak_bytes": environment.peak_memory(),
        "device": device,
    }


def built(name: str, folder: str, size: int) -> tuple[Any, Any]:
    """The module of a run with one loss, and its optimiser.

    Raises:
        InputError: the loss needs more than a teacher.
    """
    from omegaconf import OmegaConf
    from torch import nn

    from transferlab import building, feeding
    from transferlab.composing import Composer
    from transferlab.errors import InputError
    from transferlab.losses.teacher import Teacher

    words = ["source=none", "target=npz", f"target.data.path={folder}/images.npz", "strategy=full_finetune"]
    words += ["backbone=resnet18", f"backbone.input.shape=[3,{size},{size}]"]
    words += [] if name == BARE else [f"+strategy/loss@strategy.losses.{name}={name}"]
    with Composer() as composer:
        config = composer.config(words)
    if missing := OmegaConf.missing_keys(config.strategy):
        raise InputError(f"it needs {', '.join(sorted(missing))}")
    strategy, task = building.build(config.strategy), building.build(config.task)
    if "source" in strategy.reads | strategy.studies:
        raise InputError("it reads the source's data")
    parts, source = feeding.data(config, strategy.reads)
    backbone = building.net(config, task)
    head = nn.Linear(backbone.features, CLASSES)
    teachers = {"source": Teacher(copy.deepcopy(backbone), head, task, 1.0)} if strategy.learns else {}
    module = building.module(config, backbone, strategy, task, parts, source, True, None, teachers)
    return module, building.build(config.optimizer)([p for p in module.parameters() if p.requires_grad])


def timed_teachers(module: Any, now: Any) -> list[float]:
    """Seconds that each teacher takes to look at a batch, as they come."""
    seconds: list[float] = []
    for teacher in module.teachers.values():

        def observe(*words: Any, look: Any = teacher.observe) -> Any:
            started = now()
            seen = look(*words)
            seconds.append(now() - started)
            return seen

        teacher.observe = observe
    return seconds


def clock(device: str) -> Any:
    """Processor time on the CPU; on a GPU the time when all its work is done."""
    if device == "cpu":
        return time.process_time
    import torch

    def done() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return done


def write_images(folder: Path, size: int) -> None:
    """Random images with ten classes, so that there is a target to build the run from."""
    x = np.random.default_rng(0).integers(0, 256, (2 * BATCH, size, size, 3), dtype=np.uint8)
    y = np.arange(2 * BATCH) % CLASSES
    np.savez(folder / "images.npz", x_train=x, y_train=y, x_test=x, y_test=y)


if __name__ == "__main__":
    main()
