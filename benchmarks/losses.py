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
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import turns

CONF = Path(__file__).parents[1] / "conf" / "strategy" / "loss"
BATCH, CLASSES = 64, 10
WARM_UP = 2  # steps of a process that are not counted
BARE = "none"
PROMISED = {"bss": 1 / 1.15, "delta": 1 / 1.15}  # times the bare step, a teacher's pass not counted


def main() -> None:
    """Take turns, print a JSON line a loss; exit 1 while a promise is missed."""
    names = sorted(file.stem for file in CONF.glob("*.yaml") if not file.name.startswith("_"))
    parser = turns.parser(__doc__)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--case", choices=names, action="append")
    args = parser.parse_args()
    if args.turn:
        print(json.dumps(turn(args.turn, args.place, args)))
        return
    found = turns.taken((BARE, *(args.case or names)), args)
    lines = []
    for name, (first, *_) in found.items():
        if "left_out" in first:
            turns.said("losses", way=name, **first)
        elif name != BARE:
            lines.append(turns.said("losses", **line(name, found, args)))
    turns.ended(lines)


def line(name: str, found: dict[str, list[dict]], args: argparse.Namespace) -> dict:
    """Ours is the step with the loss, the teacher's pass left out, the peer the step without."""
    ours, bare = found[name], found[BARE]
    return {
        "case": f"resnet18 {args.size}x{args.size} batch {BATCH} {ours[0]['device']}, {args.threads} threads",
        **turns.compared(found, name, BARE, promised=PROMISED.get(name), key="own_s"),
        "step_s": turns.spread([one["step_s"] for one in ours]),
        "teacher_s": turns.spread([one["teacher_s"] for one in ours]),
        "peak_bytes": max(one["peak_bytes"] for one in ours),
        "peer_peak_bytes": max(one["peak_bytes"] for one in bare),
    }


def turn(name: str, folder: str, args: argparse.Namespace) -> dict:
    """Seconds of the median step and of the teachers' in it, and the most bytes held; or why there are none."""
    import torch

    from transferlab import environment
    from transferlab.errors import InputError

    write_images(Path(folder), args.size)
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
    step_s, teacher_s = median(steps[WARM_UP:]), median(teaching[WARM_UP:])
    return {
        "step_s": step_s,
        "teacher_s": teacher_s,
        "own_s": step_s - teacher_s,
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
