"""Schedules that freeze a part of the net, on photographs, beside Lightning's callback doing the same.

Four schedules over 10 and over 30 epochs, EfficientNet-Lite0 with its ImageNet weights:

    gradual_unfreezing  the head, then a stage more every 2 epochs, from the last down
    lp_ft               the head alone for the first half, then everything
    top_k               the last two stages and the head
    surgical            a stage in the middle, and the head

Ours is the real command with an empty cache. The peer is what a user of Lightning would write: a LightningModule with a
backbone and a head, Lightning's Trainer, and a callback derived from `BaseFinetuning`, which freezes the backbone and
unfreezes stages in the epochs in which the schedule does, with the callback's defaults. So scale and shift of its
frozen BatchNorm layers go on training, and gradients pass through the frozen stages; `--still` has it freeze them too.
With both they normalise by the batch in training, which ours do not, so accuracies differ. Net, weights, images,
batches of 32, Adam at one rate, epochs, and the folder's `val` scored after each are the same.
The plain loop here is Lightning's: it computes the frozen stages in every epoch and decodes an image whenever it is
asked for; `--decoded` has its images lie in memory, ready for the net.

Times are as in benchmarks/frozen.py. `limit` is what counted operations allow: those that the peer does by those that a
run cannot do without, which are every step and pass behind the frozen first stages, and these once an image. At least
85 % of it are promised.

    python benchmarks/unfreezing.py [--epochs 10 30] [--schedule NAME ...] [--side 96] [--quick]
"""

import argparse
import json
import sys
import tempfile

import command
import operations
import photographs
import turns
from clock import imported, leave_out_imports, worked
from photographs import BATCH

LR = 0.001
SCHEDULES = ("gradual_unfreezing", "lp_ft", "top_k", "surgical")
MIDDLE = {"efficientnet_lite0": "block4", "resnet50": "layer3"}


def main() -> None:
    """Take turns, print a JSON line for each schedule and number of epochs; exit 1 while a promise is missed."""
    parser = photographs.options(turns.parser(__doc__, rounds=1), side=96)
    parser.add_argument("--epochs", type=int, nargs="+", default=[10, 30])
    parser.add_argument("--schedule", choices=SCHEDULES, nargs="+", default=SCHEDULES)
    parser.add_argument("--still", action="store_true", help="the peer freezes BatchNorm layers too")
    parser.add_argument("--decoded", action="store_true", help="the peer's images lie in memory, decoded")
    parser.add_argument("--quick", action="store_true", help="6 epochs, 4 images a class of 64 pixels: to try it out")
    args = parser.parse_args()
    if args.quick:
        args.epochs, args.side, args.labels = [6], 64, 4
    if args.turn:
        leave_out_imports()
        who, name, epochs = args.turn.split()
        print(json.dumps({"ours": ours, "lightning": lightning}[who](args, name, int(epochs))))
        return
    turns.ended([measured(name, epochs, args) for name in args.schedule for epochs in args.epochs])


def measured(name: str, epochs: int, args: argparse.Namespace) -> dict:
    """A line of figures, printed as it is known."""
    mine, theirs = f"ours {name} {epochs}", f"lightning {name} {epochs}"
    found = turns.taken((mine, theirs), args)
    (one, *_), (other, *_) = found[mine], found[theirs]
    if one["trained"] != other["trained"]:
        sys.exit(f"{name}: not the same stages train in every epoch")
    limit = other["operations"] / one["operations"]
    line = turns.compared(found, mine, theirs, limit, turns.AIM * limit)
    line |= {"accuracy": one["accuracy"], "peer_accuracy": other["accuracy"]}
    return turns.said("unfreezing", net=args.net, side=args.side, **line)


def ours(args: argparse.Namespace, name: str, epochs: int) -> dict:
    """The real command, from its composed config to its record."""
    spent = command.of_data_and_fit()
    words = [*photographs.target(args), *command.QUIET, f"strategy={name}", f"trainer.max_epochs={epochs}"]
    words += [f"strategy.freezing.{setting(args, name, epochs)}"]
    words += ["optimizer=adam", f"optimizer.lr={LR}", "scheduler=constant"]
    command.train(*words, f"paths.runs={args.place}/runs", f"paths.cache={args.place}/cache", "study=s")
    (record,) = command.records(f"{args.place}/runs/s")
    return {
        "seconds": spent(),
        "imports_s": round(imported(), 2),
        "accuracy": round(record["metrics"]["last"]["test/accuracy"], 4),
        "hits": record["cost"]["cache_hits"],
        "trained": [len(row["trainable"]) for row in record["history"]],
        "operations": operations.of_run(args, record),
    }


def setting(args: argparse.Namespace, name: str, epochs: int) -> str:
    """Of a strategy's schedule."""
    return {
        "gradual_unfreezing": "every=2",
        "lp_ft": f"probe_epochs={epochs // 2}",
        "top_k": "k=2",
        "surgical": f"train=[{MIDDLE[args.net]}]",
    }[name]


def lightning(args: argparse.Namespace, name: str, epochs: int) -> dict:
    """What a user of Lightning would write."""
    import pytorch_lightning as pl
    import torch
    from pytorch_lightning.callbacks import BaseFinetuning
    from torch.nn.functional import cross_entropy
    from torch.utils.data import DataLoader

    splits, classes = photographs.split(args)
    if args.decoded:
        splits = [list(part) for part in splits]
    net, head = photographs.pretrained(args, classes)
    layer = getattr(net, head)
    setattr(net, head, torch.nn.Identity())
    stages = photographs.stages(args, net)
    opens = schedule(args, name, epochs, list(stages))

    class Transfer(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.backbone, self.head = net, layer

        def forward(self, x):
            return self.head(self.backbone(x))

        def training_step(self, batch, index):
            loss = cross_entropy(self(batch[0]), batch[1])
            self.log("loss", loss)
            return loss

        def validation_step(self, batch, index):
            self.log("accuracy", (self(batch[0]).argmax(1) == batch[1]).float().mean())

        def configure_optimizers(self):
            return torch.optim.Adam([p for p in self.parameters() if p.requires_grad], lr=LR)

    class Unfreezing(BaseFinetuning):
        def freeze_before_training(self, module):
            self.freeze(module.backbone, train_bn=not args.still)

        def finetune_function(self, module, epoch, optimizer):
            opening = [stages[stage] for stage, at in opens.items() if at == epoch]
            if opening:
                self.unfreeze_and_add_param_group(opening, optimizer, lr=LR)

    module = Transfer()
    began = worked()
    with tempfile.TemporaryDirectory() as folder:
        trainer = pl.Trainer(
            max_epochs=epochs, callbacks=[Unfreezing()], accelerator="cpu", default_root_dir=folder, logger=False
        )
        loaders = [DataLoader(part, BATCH, shuffle=part is splits[0]) for part in splits]
        trainer.fit(module, *loaders)
    seconds, accuracy = worked() - began, float(trainer.callback_metrics["accuracy"])
    imports_s = round(imported(), 2)

    def step(trained: list[str]) -> int:
        BaseFinetuning.freeze(net, train_bn=not args.still)
        BaseFinetuning.make_trainable([stages[stage] for stage in trained])
        return operations.of_step(module.train(), args.side)

    trained = [[stage for stage, at in opens.items() if at <= epoch] for epoch in range(epochs)]
    steps = {tuple(stages): step(stages) for stages in trained}
    forward, sizes = operations.of_pass(module, args.side), [len(part) for part in splits]
    return {
        "seconds": seconds,
        "imports_s": imports_s,
        "accuracy": round(accuracy, 4),
        "trained": [1 + len(stages) for stages in trained],
        "operations": operations.of_training([steps[tuple(stages)] for stages in trained], forward, sizes),
    }


def schedule(args: argparse.Namespace, name: str, epochs: int, stages: list[str]) -> dict[str, int]:
    """The epoch in which each stage that ever trains is unfrozen."""
    return {
        "gradual_unfreezing": {stage: 2 * number for number, stage in enumerate(reversed(stages), 1)},
        "lp_ft": dict.fromkeys(stages, epochs // 2),
        "top_k": dict.fromkeys(stages[-2:], 0),
        "surgical": {MIDDLE[args.net]: 0},
    }[name]


if __name__ == "__main__":
    main()
