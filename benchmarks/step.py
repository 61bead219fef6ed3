"""The time of a training step beside a plain PyTorch loop that does the same mathematics.

Full fine-tuning, ResNet-18, 32x32 images, batches of 64, SGD with a cosine rate, on the CPU; ours with W&B offline and
all logging on. Both take turns, each turn a process of its own, because what a process did before changes how fast its
allocator is. A turn gives the median of its steps; the figure is the median of the turns.

    python benchmarks/step.py [--rounds 5] [--steps 40] [--threads 2]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

BATCH = 64
WARM_UP = 5  # steps of a process that are not counted
LIMIT = 1.05  # of the plain loop's time
LR, MOMENTUM, DECAY = 0.01, 0.9, 1e-4


def main() -> None:
    """Take turns, print a line a turn and one JSON line at the end; exit 1 above the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turn", choices=["ours", "plain"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.turn:
        print(json.dumps({"ours": ours, "plain": plain}[args.turn](args.steps)))
        return
    times: dict[str, list[float]] = {"ours": [], "plain": []}
    for number in range(args.rounds):
        order = ("ours", "plain") if number % 2 == 0 else ("plain", "ours")
        for name in order:
            times[name].append(turn(name, args))
        print(f"round {number + 1}: ours {times['ours'][-1] * 1e3:.1f} ms, plain {times['plain'][-1] * 1e3:.1f} ms")
    ours_s, peer_s = median(times["ours"]), median(times["plain"])
    ratios = sorted(mine / peer for mine, peer in zip(times["ours"], times["plain"], strict=True))
    line = {
        "benchmark": "step",
        "case": f"full_finetune resnet18 32x32 batch {BATCH} cpu, {args.threads} threads",
        "ours_s": round(ours_s, 5),
        "peer": "plain PyTorch loop",
        "peer_s": round(peer_s, 5),
        "ratio": round(peer_s / ours_s, 4),
        "limit": round(1 / LIMIT, 4),
        "ours_over_peer": {"median": round(median(ratios), 4), "min": round(ratios[0], 4), "max": round(ratios[-1], 4)},
    }
    print(json.dumps(line))
    sys.exit(int(median(ratios) > LIMIT))


def turn(name: str, args: argparse.Namespace) -> float:
    """One process; the median of its steps in seconds."""
    words = [sys.executable, __file__, "--turn", name, "--steps", str(args.steps)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads)}
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(done.stderr)
    return float(done.stdout.strip().splitlines()[-1])


def images(steps: int) -> tuple[np.ndarray, np.ndarray]:
    """As many random images as the steps take, with ten classes."""
    rng = np.random.default_rng(0)
    samples = BATCH * (steps + WARM_UP)
    return rng.integers(0, 256, (samples, 32, 32, 3), dtype=np.uint8), np.arange(samples) % 10


def ours(steps: int) -> float:
    """The median step of the real command, from the end of one batch to the end of the next."""
    from transferlab import cli
    from transferlab.module import TransferModule

    stamps: list[float] = []
    TransferModule.on_train_batch_end = lambda *_: stamps.append(time.perf_counter())  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        x, y = images(steps)
        np.savez(Path(folder) / "images.npz", x_train=x, y_train=y, x_test=x[:BATCH], y_test=y[:BATCH])
        words = ["source=none", "strategy=full_finetune", "target=npz", f"target.data.path={folder}/images.npz"]
        words += ["backbone=resnet18", "backbone.input.shape=[3,32,32]", f"batch_size={BATCH}", "trainer.max_epochs=1"]
        words += ["target.validation=0", "selection=last", "trainer.accelerator=cpu", "tracker.mode=offline"]
        words += [f"optimizer.lr={LR}", f"optimizer.momentum={MOMENTUM}", f"optimizer.weight_decay={DECAY}"]
        if cli.main(["train", *words, f"paths.runs={folder}/runs"]):
            sys.exit("the run failed")
    return median(np.diff(stamps)[WARM_UP - 1 :].tolist())


def plain(steps: int) -> float:
    """The median step of a loop with no framework in it."""
    import torch
    import torchvision
    from torch.nn.functional import cross_entropy

    x, y = (torch.from_numpy(array) for array in images(steps))
    x = x.permute(0, 3, 1, 2).contiguous()
    net = torchvision.models.resnet18(num_classes=10)
    optimizer = torch.optim.SGD(net.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=DECAY, nesterov=True)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(y) // BATCH)
    mean, std = torch.tensor([0.485, 0.456, 0.406])[:, None, None], torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    stamps = []
    for batch in torch.randperm(len(y)).split(BATCH):
        inputs = (x[batch].float().div_(255) - mean).div_(std)
        loss = cross_entropy(net(inputs), y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        stamps.append(time.perf_counter())
    return median(np.diff(stamps)[WARM_UP - 1 :].tolist())


if __name__ == "__main__":
    main()
