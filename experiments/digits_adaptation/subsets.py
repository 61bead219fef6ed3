"""Draw 2,000 images of MNIST and 1,800 of USPS into files for target=npz: python subsets.py DATA OUT.

What is drawn stands for the training split; the test splits stay whole. `usps_framed` has the same digits with a border
of 3 pixels to 16, as MNIST's of 20 have one of 4.
"""

import sys
from pathlib import Path

import h5py
import numpy as np
from torchvision.datasets import MNIST

data, out = map(Path, sys.argv[1:])
out.mkdir(parents=True, exist_ok=True)


def draw(
    name: str, size: int, x_train: np.ndarray, y_train: np.ndarray, x_test: np.ndarray, y_test: np.ndarray
) -> None:
    """Write one file."""
    rows = np.sort(np.random.default_rng(0).choice(len(y_train), size, replace=False))
    np.savez(out / f"{name}.npz", x_train=x_train[rows], y_train=y_train[rows], x_test=x_test, y_test=y_test)


train, test = (MNIST(str(data), train=part) for part in (True, False))
draw("mnist", 2000, train.data.numpy(), train.targets.numpy(), test.data.numpy(), test.targets.numpy())

with h5py.File(data / "usps" / "usps.h5") as file:
    arrays = []
    for split in ("train", "test"):
        bytes_ = np.rint(255 * file[split]["data"][:]).astype(np.uint8)
        arrays += [bytes_.reshape(-1, 16, 16), file[split]["target"][:].astype(np.int64)]
draw("usps", 1800, *arrays)
framed = [np.pad(one, ((0, 0), (3, 3), (3, 3))) if one.ndim == 3 else one for one in arrays]
draw("usps_framed", 1800, *framed)
