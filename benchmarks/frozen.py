"""A linear probe on photographs, ten epochs, beside three ways to do it that compute the frozen net in every epoch.

The same images, batches of 32, Adam at one rate, the folder's `val` scored after every epoch, in processes of their own
with their own defaults:

    loop       the plain PyTorch loop of a tutorial: frozen parameters, a new head, a DataLoader that decodes
    lightning  Lightning's Trainer with its BackboneFinetuning callback, which never unfreezes
    hf         Hugging Face's Trainer
    ours       the real command with an empty cache; ours_bfloat16: in bfloat16; ..._again: a second run on that cache

A time is of data and fit, ours also of the record; nets are there before. Imports are no part of it: they are
`imports_s`. Seconds are processor time, the kernel's included, which unlike the clock does not grow when somebody else
uses the machine. `limit` is what counted operations allow: those that the peer does by those that a run cannot do
without. They are no bound: reading and decoding, memory, layout and bfloat16 count for nothing in them.
    python benchmarks/frozen.py [--folder DIR] [--net efficientnet_lite0|resnet50] [--side 224] [--epochs 10]
"""

import argparse
import json
import tempfile

import command
import operations
import photographs
import turns
from clock import imported, leave_out_imports, worked
from photographs import BATCH

PEERS = ("loop", "lightning", "hf")
PROMISED = {"ours": 40, "ours_again": 500, "ours_bfloat16": 70, "ours_bfloat16_again": 500}  # times the plain loop
LR = 0.005


def main() -> None:
    """Take turns, print a JSON line for each of our ways and each peer; exit 1 while a promise is missed."""
    parser = photographs.options(turns.parser(__doc__, rounds=1))
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--only", nargs="*", default=[*PEERS, *PROMISED])
    args = parser.parse_args()
    if args.turn:
        leave_out_imports()
        print(json.dumps({"loop": loop, "lightning": lightning, "hf": hugging_face}.get(args.turn, ours)(args)))
        return
    found = turns.taken(args.only, args, in_order=True)  # a second run needs what the first left in the cache
    lines = []
    for name in (name for name in PROMISED if name in found):
        for peer in (peer for peer in PEERS if peer in found):
            (mine, *_), (theirs, *_) = found[name], found[peer]
            limit = theirs["operations"] / mine["operations"]
            line = turns.compared(found, name, peer, limit, PROMISED[name] if peer == "loop" else None)
            for key in ("accuracy", "imports_s"):
                line |= {key: mine[key], f"peer_{key}": theirs[key]}
            lines.append(turns.said("frozen", net=args.net, **line))
    turns.ended(lines)


def ours(args: argparse.Namespace) -> dict:
    """The real command, from its composed config to its record."""
    spent = command.of_data_and_fit()
    numbers = "bfloat16" if "bfloat16" in args.turn else "float32"
    words = [*photographs.target(args), *command.QUIET, "strategy=linear_probe", f"cache.dtype={numbers}"]
    words += [f"trainer.max_epochs={args.epochs}", "optimizer=adam", f"optimizer.lr={LR}", "scheduler=constant"]
    words += [f"paths.runs={args.place}/{args.turn}", f"paths.cache={args.place}/{numbers}", "study=s"]
    words += ["trainer.precision=bf16-mixed"] if numbers == "bfloat16" else []
    command.train(*words)
    (record,) = command.records(f"{args.place}/{args.turn}/s")
    return {
        "seconds": spent(),
        "imports_s": round(imported(), 2),
        "accuracy": round(record["metrics"]["last"]["test/accuracy"], 4),
        "hits": record["cost"]["cache_hits"],
        "operations": operations.of_run(args, record, again=args.turn.endswith("again")),
    }


def told(seconds: float, accuracy: float, net, splits, args: argparse.Namespace) -> dict:
    """What a peer says of its turn, in which every epoch is like the others."""
    until_then = round(imported(), 2)
    steps = [operations.of_step(net, args.side)] * args.epochs
    done = operations.of_training(steps, operations.of_pass(net, args.side), [len(part) for part in splits])
    return {"seconds": seconds, "imports_s": until_then, "accuracy": round(accuracy, 4), "operations": done}


def loop(args: argparse.Namespace) -> dict:
    """A tutorial's loop."""
    import torch
    from torch.nn.functional import cross_entropy

    (train, scored), classes = photographs.split(args)
    net, head = photographs.pretrained(args, classes)
    for parameter in net.parameters():
        parameter.requires_grad = False
    for parameter in getattr(net, head).parameters():
        parameter.requires_grad = True
    began = worked()
    loader = torch.utils.data.DataLoader(train, BATCH, shuffle=True)
    optimizer = torch.optim.Adam(getattr(net, head).parameters(), lr=LR)

    def accuracy(data) -> float:
        right = 0
        with torch.no_grad():
            for x, y in torch.utils.data.DataLoader(data, BATCH):
                right += int((net(x).argmax(1) == y).sum())
        return right / len(data)

    net.eval()  # frozen statistics, as ours has them
    for _ in range(args.epochs):
        for x, y in loader:
            optimizer.zero_grad()
            cross_entropy(net(x), y).backward()
            optimizer.step()
        found = accuracy(scored)
    return told(worked() - began, found, net, (train, scored), args)


def lightning(args: argparse.Namespace) -> dict:
    """Lightning's own fine-tuning callback."""
    import pytorch_lightning as pl
    import torch
    from pytorch_lightning.callbacks import BackboneFinetuning
    from torch.nn.functional import cross_entropy

    (train, scored), classes = photographs.split(args)
    net, head = photographs.pretrained(args, classes)
    layer = getattr(net, head)
    setattr(net, head, torch.nn.Identity())

    class Probe(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.backbone, self.head = net, layer

        def forward(self, x):
            return self.head(self.backbone(x))

        def training_step(self, batch, index):
            return cross_entropy(self(batch[0]), batch[1])

        def validation_step(self, batch, index):
            self.log("accuracy", (self(batch[0]).argmax(1) == batch[1]).float().mean())

        def configure_optimizers(self):
            return torch.optim.Adam([p for p in self.parameters() if p.requires_grad], lr=LR)

    module = Probe()
    callback = BackboneFinetuning(unfreeze_backbone_at_epoch=args.epochs + 1)
    with tempfile.TemporaryDirectory() as folder:
        trainer = pl.Trainer(
            max_epochs=args.epochs, callbacks=[callback], accelerator="cpu", default_root_dir=folder, logger=False
        )
        began = worked()
        loaders = [torch.utils.data.DataLoader(part, BATCH, shuffle=part is train) for part in (train, scored)]
        trainer.fit(module, *loaders)
        seconds = worked() - began
    return told(seconds, float(trainer.callback_metrics["accuracy"]), module, (train, scored), args)


def hugging_face(args: argparse.Namespace) -> dict:
    """Hugging Face's Trainer."""
    import torch
    from torch.nn.functional import cross_entropy
    from transformers import Trainer, TrainingArguments

    (train, scored), classes = photographs.split(args)
    net, head = photographs.pretrained(args, classes)
    net.requires_grad_(False)
    getattr(net, head).requires_grad_(True)

    class Wrapped(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, pixel_values, labels):
            logits = self.net(pixel_values)
            return {"loss": cross_entropy(logits, labels), "logits": logits}

    def collate(samples):
        x, y = zip(*samples, strict=True)
        return {"pixel_values": torch.stack(x), "labels": torch.tensor(y)}

    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            folder,
            num_train_epochs=args.epochs,
            per_device_train_batch_size=BATCH,
            per_device_eval_batch_size=BATCH,
            learning_rate=LR,
            eval_strategy="epoch",
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
        )
        began = worked()
        trainer = Trainer(
            Wrapped(),
            settings,
            train_dataset=train,
            eval_dataset=scored,
            data_collator=collate,
            compute_metrics=lambda said: {"accuracy": float((said.predictions.argmax(1) == said.label_ids).mean())},
        )
        trainer.train()
        seconds = worked() - began
        found = [row["eval_accuracy"] for row in trainer.state.log_history if "eval_accuracy" in row]
    return told(seconds, found[-1], net, (train, scored), args)


if __name__ == "__main__":
    main()
