"""A step of a linear head on features that are there already, 512 -> 10, batches of 128, SGD with momentum.

    plain      a plain PyTorch loop over a tensor
    lightning  Lightning's Trainer over a DataLoader of the same tensor, logging its loss
    ours       the real command, strategy=linear_probe, on cached activations: steps between an epoch's first and last
    together   hydra/launcher=vectorized: 24 such runs, a step of all by 24

Microseconds of processor time a step, the loading of the batch included, in the fastest epoch of a turn. `limit`: the
products alone, forward and backward, without any bookkeeping. Ours is to take at most 1.3 times the plain loop.

    python benchmarks/heads.py [--rounds 3] [--epochs 20]
"""

import argparse
import json
from statistics import median

import command
import turns
from clock import worked

SAMPLES, FEATURES, CLASSES, BATCH, RUNS = 12800, 512, 10, 128, 24
STEPS = SAMPLES // BATCH  # of an epoch
WAYS = ("limit", "plain", "lightning", "ours", "together")
PROMISED = {"ours": 1 / 1.3}  # times the plain loop


def main() -> None:
    """Take turns, print a JSON line for each way; exit 1 while the promise is missed."""
    parser = turns.parser(__doc__)
    parser.add_argument("--epochs", type=int, default=20)
    args = parser.parse_args()
    if args.turn:
        print(json.dumps({"microseconds": globals()[args.turn](args)}))
        return
    found = turns.taken(WAYS, args)
    limit = median(turns.by(found, "plain", "limit", "microseconds"))
    compared = [
        turns.compared(found, name, "plain", limit, PROMISED.get(name), "microseconds")
        for name in ("lightning", "ours", "together")
    ]
    turns.ended([turns.said("heads", **line) for line in compared])


def features():
    """Classes that overlap."""
    import torch

    draw = torch.Generator().manual_seed(0)
    y = torch.randint(0, CLASSES, (SAMPLES,), generator=draw)
    means = torch.randn(CLASSES, FEATURES, generator=draw)
    return means[y] + 3 * torch.randn(SAMPLES, FEATURES, generator=draw), y


def fastest(epochs: list[float], steps: int) -> float:
    """Microseconds a step, from the seconds of epochs of so many steps."""
    return min(epochs) / steps * 1e6


def limit(args: argparse.Namespace) -> float:
    """The matrix products of a step."""
    import torch

    x, _ = features()
    weight, x = torch.randn(CLASSES, FEATURES), x[:BATCH]
    gradient = torch.randn(BATCH, CLASSES)
    spent = []
    for _ in range(args.epochs):
        began = worked()
        for _ in range(STEPS):
            x @ weight.T
            gradient.T @ x
        spent.append(worked() - began)
    return fastest(spent, STEPS)


def plain(args: argparse.Namespace) -> float:
    """A tutorial's loop."""
    import torch
    from torch.nn.functional import cross_entropy

    x, y = features()
    head = torch.nn.Linear(FEATURES, CLASSES)
    optimizer = torch.optim.SGD(head.parameters(), lr=0.01, momentum=0.9, nesterov=True)
    spent = []
    for _ in range(args.epochs):
        began = worked()
        for rows in torch.randperm(SAMPLES).split(BATCH):
            optimizer.zero_grad()
            cross_entropy(head(x[rows]), y[rows]).backward()
            optimizer.step()
        spent.append(worked() - began)
    return fastest(spent, STEPS)


def lightning(args: argparse.Namespace) -> float:
    """Lightning's Trainer, batches fetched as a whole."""
    import pytorch_lightning as pl
    import torch
    from torch.nn.functional import cross_entropy
    from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

    class Probe(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.head = torch.nn.Linear(FEATURES, CLASSES)

        def training_step(self, batch, index):
            loss = cross_entropy(self.head(batch[0]), batch[1])
            self.log("loss", loss, on_step=False, on_epoch=True)
            return loss

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9, nesterov=True)

        def on_train_epoch_start(self):
            self.began = worked()

        def on_train_epoch_end(self):
            spent.append(worked() - self.began)

    spent: list[float] = []
    data = TensorDataset(*features())
    batches = BatchSampler(RandomSampler(data), BATCH, drop_last=False)
    trainer = pl.Trainer(
        max_epochs=args.epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Probe(), DataLoader(data, sampler=batches, batch_size=None))
    return fastest(spent, STEPS)


def ours(args: argparse.Namespace) -> float:
    """The real command."""
    from transferlab.stepping import Epoch

    steps, seconds = command.timed(Epoch, "_go_on", lambda given: given[2])
    probe(args, [])
    return fastest(seconds, steps[0])


def together(args: argparse.Namespace) -> float:
    """The real command, many runs at once."""
    from transferlab.together import fitting

    steps, seconds = command.timed(fitting, "_epoch", lambda given: len(given[1]) * STEPS)
    probe(args, ["-m", "hydra/launcher=vectorized", "optimizer.lr=0.001,0.003,0.01,0.03", "seed=0,1,2,3,4,5"])
    return fastest(seconds, steps[0])


def probe(args: argparse.Namespace, words) -> None:
    """A linear probe on an mlp's features, all of them computed once."""
    import numpy as np

    x, y = features()
    file = f"{args.place}/features.npz"
    np.savez(file, x_train=x.numpy(), y_train=y.numpy(), x_test=x[:256].numpy() + 1, y_test=y[:256].numpy())
    own = ["target=npz", f"target.data.path={file}", "backbone=mlp", f"backbone.input.shape=[{FEATURES}]"]
    own += [f"backbone.widths=[{FEATURES}]", "source=none", "strategy=linear_probe", "strategy.start=random"]
    own += ["optimizer=sgd", "scheduler=constant", f"batch_size={BATCH}", "cache=on", "target.validation=0"]
    own += [f"trainer.max_epochs={args.epochs}", "selection=last", *command.QUIET]
    own += [f"paths.runs={args.place}/{args.turn}", f"paths.cache={args.place}/cache"]
    command.train(*own, *words)


if __name__ == "__main__":
    main()
