"""The time of a training step beside a plain PyTorch loop that does the same mathematics.

Full fine-tuning, ResNet-18, 32x32 images, batches of 64, SGD with a cosine rate, on the CPU; ours with W&B offline and
all logging on. Both take turns, each turn a process of its own, because what a process did before changes how fast its
allocator is. A turn gives the median of its steps; the figure is the median of the turns. Both
do the same operations, so the limit is 1.

    python benchmarks/step.py [--rounds 5] [--steps 40] [--threads 2]
"""

import json
import tempfile
import time
from pathlib import Path
from statistics import median

import command
import numpy as np
import turns

BATCH = 64
WARM_UP = 5  # steps of a process that are not counted
PROMISED = 1 / 1.05  # times the plain loop
LR, MOMENTUM, DECAY = 0.01, 0.9, 1e-4


def main() -> None:
    """Take turns, print a JSON line; exit 1 while the promise is missed."""
    parser = turns.parser(__doc__, rounds=5, threads=2)
    parser.add_argument("--steps", type=int, default=40)
    args = parser.parse_args()
    if args.turn:
        print(json.dumps({"seconds": {"ours": ours, "plain": plain}[args.turn](args.steps)}))
        return
    line = turns.compared(turns.taken(("ours", "plain"), args), "ours", "plain", 1.0, PROMISED)
    case = f"full_finetune resnet18 32x32 batch {BATCH} cpu, {args.threads} threads"
    turns.ended([turns.said("step", case=case, **line)])


def images(steps: int) -> tuple[np.ndarray, np.ndarray]:
    """As many random images as the steps take, with ten classes."""
    rng = np.random.default_rng(0)
    samples = BATCH * (steps + WARM_UP)
    return rng.integers(0, 256, (samples, 32, 32, 3), dtype=np.uint8), np.arange(samples) % 10


def ours(steps: int) -> float:
    """The median step of the real command, from its beginning to that of the next."""
    stamps = command.steps(time.perf_counter)
    with tempfile.TemporaryDirectory() as folder:
        x, y = images(steps)
        np.savez(Path(folder) / "images.npz", x_train=x, y_train=y, x_test=x[:BATCH], y_test=y[:BATCH])
        words = ["source=none", "strategy=full_finetune", "target=npz", f"target.data.path={folder}/images.npz"]
        words += ["backbone=resnet18", "backbone.input.shape=[3,32,32]", f"batch_size={BATCH}", "trainer.max_epochs=1"]
        words += ["target.validation=0", "selection=last", "trainer.accelerator=cpu", "tracker.mode=offline"]
        words += [f"optimizer.lr={LR}", f"optimizer.momentum={MOMENTUM}", f"optimizer.weight_decay={DECAY}"]
        command.train(*words, f"paths.runs={folder}/runs")
    return median(np.diff(stamps)[WARM_UP:].tolist())


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
