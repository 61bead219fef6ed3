"""The time and the memory of a training step with each transfer loss, beside the step of the task's loss alone.

Full fine-tuning, ResNet-18, 32x32 images, batches of 64, on the CPU, or on a GPU where there is one. Every loss of
conf/strategy/loss takes part that needs nothing more than a teacher; the others say why they do not. The teacher is a
net of the same kind. What it makes of the samples comes from the cache, as in every epoch of a run whose samples do
not change at random; `looking_s` is the step in which it looks at the batch itself. All take turns, each turn a
process of its own: it builds the run's module and does forward, backward and the optimiser's step on one batch.
Seconds are processor time on the CPU, which unlike the clock does not grow when somebody else uses the machine; a
turn gives the median of its steps, the figure is the median of the turns. Memory is the most that the process held,
with its libraries, or on a GPU the most that was allocated.

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
PROMISED = {"bss": 1 / 1.15, "delta": 1 / 1.15}  # times the bare step


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
    """Ours is the step with the loss, the peer the step without."""
    ours, bare = found[name], found[BARE]
    return {
        "case": f"resnet18 {args.size}x{args.size} batch {BATCH} {ours[0]['device']}, {args.threads} threads",
        **turns.compared(found, name, BARE, promised=PROMISED.get(name), key="step_s"),
        "looking_s": turns.spread([one["looking_s"] for one in ours]),
        "peak_bytes": max(one["peak_bytes"] for one in ours),
        "peer_peak_bytes": max(one["peak_bytes"] for one in bare),
    }


def turn(name: str, folder: str, args: argparse.Namespace) -> dict:
    """Seconds of the median step, with lessons from the cache and without, and the most bytes; or why there is none."""
    import torch
    from lightning_fabric.utilities import move_data_to_device

    from transferlab import environment
    from transferlab.data.loading import TAUGHT
    from transferlab.errors import InputError

    write_images(Path(folder), args.size)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    now = clock(device)
    try:
        module, data, optimizer = built(name, folder, args.size)
    except InputError as error:
        return {"left_out": str(error)}
    inputs, known = taught(module.to(device).train(), data, Path(folder))
    environment.environment("auto")  # from here on the peak of memory counts
    draw = torch.Generator().manual_seed(0)
    seconds = {"looking_s": [], "step_s": []}
    for number in range(2 * (WARM_UP + args.steps)):
        way = "step_s" if number % 2 else "looking_s"
        positions = torch.randperm(2 * BATCH, generator=draw)[:BATCH]
        x, y = next(inputs.batches("target", positions.tolist(), BATCH))
        started = now()
        lessons = {name: of(positions) for name, of in known.items() if way == "step_s"}
        batch = {"target": (x, y), TAUGHT: move_data_to_device(lessons, device)}
        total = torch.stack(list(module.terms(batch, 0.5).values())).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        seconds[way].append(now() - started)
    found = {way: median(each[WARM_UP:]) for way, each in seconds.items()}
    return {**found, "peak_bytes": environment.peak_memory(), "device": device}


def built(name: str, folder: str, size: int) -> tuple[Any, Any]:
    """The module of a run with one loss, its data and its optimiser.

    Raises:
        InputError: the loss needs more than a teacher.
    """
    from omegaconf import OmegaConf
    from torch import nn

    from transferlab import building, feeding, nodes
    from transferlab.composing import Composer
    from transferlab.errors import InputError
    from transferlab.losses.teacher import Teacher

    words = ["source=none", "target=npz", f"target.data.path={folder}/images.npz", "strategy=full_finetune"]
    words += ["target.validation=0"]
    words += ["backbone=resnet18", f"backbone.input.shape=[3,{size},{size}]"]
    words += [] if name == BARE else [f"+strategy/loss@strategy.losses.{name}={name}"]
    with Composer() as composer:
        config = composer.config(words)
    if missing := OmegaConf.missing_keys(config.strategy):
        raise InputError(f"it needs {', '.join(sorted(missing))}")
    strategy, task = nodes.build(config.strategy), nodes.build(config.task)
    if "source" in strategy.reads | strategy.studies:
        raise InputError("it reads the source's data")
    parts, source = feeding.data(config, strategy)
    backbone = building.net(config, task)
    head = nn.Linear(backbone.features, CLASSES)
    teachers = {"source": Teacher(copy.deepcopy(backbone), head, task, 1.0, {})} if strategy.learns else {}
    module = building.module(config, backbone, strategy, task, parts, source, True, None, teachers)
    data = feeding.batches(config, parts, source, strategy, task)
    return module, data, nodes.build(config.optimizer)([p for p in module.parameters() if p.requires_grad])


def taught(module: Any, data: Any, folder: Path) -> tuple[Any, dict[str, Any]]:
    """The run's samples, and by teacher what the cache has of them, computed here."""
    from pytorch_lightning import Trainer

    from transferlab.cache.store import Store
    from transferlab.prefix.inputs import Inputs
    from transferlab.prefix.lessons import Lessons
    from transferlab.prefix.settings import Settings

    trainer: Any = Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False, devices=1)
    trainer.strategy.connect(module)
    trainer._data_connector.attach_data(module, datamodule=data)
    lessons = Lessons(Settings("on", "float32", 0, 20.0, True, False), Store(folder / "cache", 20.0, True), None)
    lessons.begin(module, inputs := Inputs(trainer, data), 1)
    return inputs, lessons.given


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
