"""Published bags of words, in the files that they came in."""

from pathlib import Path

import numpy as np
import torch

from transferlab.data.samples import InMemory, Splits, checked
from transferlab.errors import InputError, unknown

_CLASSES = ("negative", "positive")
_DOMAINS = ("books", "dvd", "electronics", "kitchen")
_WORDS = 5000


def amazon_dann(root: str, name: str) -> Splits:
    """Reviews of products of one domain as counts of 5,000 words and pairs of words, cut as in the paper of DANN.

    Ganin et al. 2016, "Domain-Adversarial Training of Neural Networks" (JMLR 17), section 5.1.3; the reviews are those
    of Blitzer et al. 2007. Each domain has 2,000 reviews to train on, half of them positive, and 3,586 to 5,945 to test
    on. They become rows of float32, words that a review lacks are 0.

    Args:
        root: folder of `DOMAIN_train.svmlight` and `DOMAIN_test.svmlight`, whose lines are `-1` or `1`, then
            `WORD:COUNT` with words from 0.
        name: the domain: `books`, `dvd`, `electronics` or `kitchen`.

    Raises:
        InputError: no such domain, or a file is missing or has other contents.
    """
    if name not in _DOMAINS:
        raise unknown("domain of Amazon reviews", name, _DOMAINS)
    train, test = (_read(Path(root) / f"{name}_{split}.svmlight") for split in ("train", "test"))
    return Splits(train, test, _CLASSES)


def _read(file: Path) -> InMemory:
    from sklearn.datasets import load_svmlight_file

    if not file.is_file():
        raise InputError(f"target.data.root: there is no file {file}")
    try:
        x, y = load_svmlight_file(file, n_features=_WORDS, dtype=np.float32, zero_based=True)
    except ValueError as error:
        raise InputError(f"{file} is no svmlight file with words from 0 to {_WORDS - 1}: {error}") from error
    if wrong := set(y.tolist()) - {-1, 1}:
        raise InputError(f"{file} has the label {min(wrong):g}; a review is -1, negative, or 1, positive")
    return checked(torch.from_numpy(x.toarray()), torch.from_numpy(y > 0).long(), len(_CLASSES), str(file))
