"""A target: its data and how much of its labels may be seen, cut into training, validation and test."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from transferlab.data import labels as subsets
from transferlab.data.samples import Samples, Splits
from transferlab.errors import InputError
from transferlab.seeding import derive


@dataclass(frozen=True)
class Parts:
    """The three parts of a target under one seed, and how many labels of each class are seen."""

    train: Samples
    val: Samples | None
    test: Samples
    classes: tuple[str, ...]
    labels_seen: int


@dataclass(frozen=True)
class Target:
    """The settings of `conf/target/_labelled.yaml`, which says what each means."""

    data: Splits
    labels: str | int | float
    imbalance: float
    noise: float
    validation: float
    folds: int | None
    fold: int
    test: float

    def parts(self, seed: int) -> Parts:
        """Cut the target. What is cut depends on the seed alone; the test split not even on that.

        Labels that are held out for validation count as seen: with `labels: 10` and `validation: 0.2`, eight labels a
        class train and two select.

        Raises:
            InputError: a part is empty, or a class is missing from the training split.
        """
        pool, test = train_and_test(self.data, self.test)
        y = pool.y.numpy()
        names = self.data.classes
        if len(names) < 2:
            raise InputError(f"the set has one class, '{names[0]}'; classification needs at least two")
        absent = sorted(set(range(len(names))) - set(y.tolist()))
        if absent:
            raise InputError(f"class '{names[absent[0]]}' is missing from the training split ({len(y)} samples)")
        draw = {key: np.random.default_rng(derive(seed, key)) for key in ("seen", "tail", "validation", "noise")}
        chosen = subsets.seen(y, self.labels, draw["seen"], names)
        chosen = chosen[subsets.long_tail(y[chosen], self.imbalance, draw["tail"], len(names))]
        if self.folds is None:
            kept, held = subsets.hold_out(y[chosen], self.validation, draw["validation"])
            if self.validation > 0 and not len(held):
                raise InputError(
                    f"target.validation={self.validation} of {len(chosen)} labels leaves none to select on; "
                    "set target.validation=0 selection=last, or see more labels"
                )
        else:
            kept, held = subsets.fold(y[chosen], self.folds, self.fold, derive(seed, "folds"))
        emptied = np.bincount(y[chosen][kept], minlength=len(names)) == 0
        if emptied.any():
            raise InputError(
                f"target.validation={self.validation} leaves class '{names[int(emptied.argmax())]}' "
                "no label to train on; hold out less, or see more labels"
            )
        train = pool.take(torch.from_numpy(chosen[kept]))
        train = train.relabelled(
            torch.from_numpy(subsets.noisy(train.y.numpy(), self.noise, len(names), draw["noise"]))
        )
        val = pool.take(torch.from_numpy(chosen[held])) if len(held) else None
        return Parts(train, val, test, names, len(chosen))


def train_and_test(data: Splits, share: float) -> tuple[Samples, Samples]:
    """A set's own splits; where it has no test split, the share of each class, the same samples in every run.

    Raises:
        InputError: the share leaves no test samples.
    """
    if data.test is not None:
        if not len(data.test):
            raise InputError("the set's own test split holds no samples")
        return data.train, data.test
    y = data.train.y.numpy()
    kept, held = subsets.hold_out(y, share, np.random.default_rng(derive(0, "test split")))
    if not len(held):
        raise InputError(f"target.test={share} leaves no test samples of {len(y)}")
    return data.train.take(torch.from_numpy(kept)), data.train.take(torch.from_numpy(held))


def describe(parts: Parts) -> Mapping[str, object]:
    """Sizes, classes and fingerprints for the record."""
    held = {"train": parts.train, "val": parts.val, "test": parts.test}
    return {
        "sizes": {name: len(part) for name, part in held.items() if part is not None},
        "classes": list(parts.classes),
        "labels_seen": parts.labels_seen,
        "fingerprints": {name: part.fingerprint() for name, part in held.items() if part is not None},
    }
