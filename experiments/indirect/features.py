"""Write the frozen features of a folder of images into an .npz file that `target=npz` reads.

    python experiments/indirect/features.py ROOT FILE.npz [--train train --test val]

The net is EfficientNet-Lite0 with ImageNet's weights. A linear probe on these features is the linear probe on the
images, to rounding, and takes a second instead of a minute.
"""

import argparse

import numpy as np
import torch

from transferlab import building
from transferlab.backbones.weights import load
from transferlab.composing import Composer
from transferlab.data.folder import image_folder

_BATCH = 32


def main() -> None:
    """Read, pass through the net, write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("root")
    parser.add_argument("file")
    parser.add_argument("--train", help="sub-folder of the training images; none: ROOT itself holds the classes")
    parser.add_argument("--test", help="sub-folder of the test images; none: they are cut from training later")
    given = parser.parse_args()
    with Composer() as composer:
        config = composer.config(["backbone=efficientnet_lite0", "source=imagenet_lite0"])
        backbone, input = building.build(config.backbone), building.inputs(config)
        load(backbone, str(config.source.weights))
    backbone.eval()
    splits = image_folder(given.root, given.train, given.test, in_memory=False)
    arrays = {"classes": np.array(splits.classes)}
    for name, samples in (("train", splits.train), ("test", splits.test)):
        if samples is not None:
            ready = samples.prepared(input)
            batches = torch.split(torch.arange(len(ready)), _BATCH)
            with torch.inference_mode():
                features = [backbone(input.normalised(ready[batch.tolist()][0])) for batch in batches]
            arrays |= {f"x_{name}": torch.cat(features).numpy(), f"y_{name}": ready.y.numpy()}
    np.savez(given.file, **arrays)


if __name__ == "__main__":
    main()
