"""A target: its data and how much of its labels may be seen, cut into training, validation and test."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from transferlab.data import labels as subsets
from transferlab.data import missing
from transferlab.data.parts import Parts
from transferlab.data.samples import Samples, Splits, groups
from transferlab.data.vault import sealed
from transferlab.errors import InputError, unknown
from transferlab.seeding import derive


@dataclass(frozen=True)
class Target:
    """The settings of `conf/target/_labelled.yaml`, which says what each means."""

    data: Splits
    labels: str | int | float
    imbalance: float
    noise: float
    missing_labels: float
    missing_values: float
    fitted_on: str
    validation: float
    folds: int | None
    fold: int
    test: float | str
    source_test: float
    label_space: str

    def __post_init__(self) -> None:
        if self.fitted_on not in ("target", "source"):
            raise unknown("target.fitted_on", self.fitted_on, ("target", "source"))
        if not 0 <= self.missing_labels < 1:
            raise InputError(f"target.missing_labels={self.missing_labels}: a share in [0, 1)")
        if self.label_space not in ("same", "partial", "open"):
            raise unknown("target.label_space", self.label_space, ("same", "partial", "open"))
        if isinstance(self.test, str) and self.test != "all":
            raise InputError(f"target.test={self.test}: a share in (0, 1), or 'all'")

    def parts(self, seed: int, unlabeled: bool = False) -> Parts:
        """Cut the target. What is cut depends on the seed alone; the test split not even on that.

        Labels that are held out for validation count as seen: with `labels: 10` and `validation: 0.2`, eight labels a
        class train and two select. Where an encoding is learned, it is from the training part.

        Args:
            seed: of the run.
            unlabeled: whether the inputs of the other training samples are wanted too; where all labels are seen, those
                of the same samples.

        Raises:
            InputError: a part is empty, or a class is missing from the training split.
        """
        pool, test = self._pool(missing.without_values(self.data, self.missing_values))
        if self.labels == "none":
            return self._hidden(pool, test)
        y, names = strata(pool.y, self.data.classes)
        self._check_classes(y, names, pool.y)
        draw = {
            key: np.random.default_rng(derive(seed, key)) for key in ("seen", "tail", "validation", "gone", "noise")
        }
        chosen = subsets.seen(y, self.labels, draw["seen"], names)
        chosen = chosen[subsets.long_tail(y[chosen], self.imbalance, draw["tail"], len(names))]
        whole = groups(pool.take(torch.from_numpy(chosen)))
        kept, held = self._held_out(y[chosen], whole, draw["validation"], seed)
        _check_left(y[chosen[kept]], names, f"target.validation={self.validation}")
        train = self._damaged(pool.take(torch.from_numpy(chosen[kept])), names, draw["gone"], draw["noise"])
        val = pool.take(torch.from_numpy(chosen[held])) if len(held) else None
        seen = len(train) + len(held)
        parts = Parts(train, val, test, self.data.classes, seen, self.data.unlabelled)
        rest = np.setdiff1d(np.arange(len(pool)), chosen)
        if self.test == "all":
            if not len(rest):
                raise InputError("target.test=all tests on all whose labels are not seen: set target.labels")
            parts = replace(parts, test=pool.take(torch.from_numpy(rest)))
        if unlabeled:
            hidden = sealed(pool.take(torch.from_numpy(rest)) if len(rest) else train)
            parts = replace(parts, unlabeled=hidden, hides=bool(len(rest)))
        return parts.fitted_on(train)

    def _pool(self, data: Splits) -> tuple[Samples, Samples]:
        """Samples to train on, and the test split; under `test: all` these are the same."""
        if self.test == "all":
            return data.train, data.train
        return train_and_test(data, float(self.test), by_class=self.labels != "none")

    def _hidden(self, pool: Samples, test: Samples) -> Parts:
        """All training samples without their labels.

        Raises:
            InputError: something is asked for that would read labels.
        """
        asked = {"imbalance": (self.imbalance, 1.0), "noise": (self.noise, 0.0), "folds": (self.folds, None)}
        asked["missing_labels"] = (self.missing_labels, 0.0)
        for key, (value, none) in asked.items():
            if value != none:
                raise InputError(f"target.{key}={value} is about labels, and under target.labels=none there are none")
        nothing = pool.take(torch.zeros(0, dtype=torch.long))
        parts = Parts(nothing, None, test, self.data.classes, 0, self.data.unlabelled, sealed(pool), True)
        return parts.fitted_on(parts.inputs)

    def _held_out(
        self, y: subsets.Labels, whole: subsets.Indices | None, rng: np.random.Generator, seed: int
    ) -> tuple[subsets.Indices, subsets.Indices]:
        """(Training, validation) of the labels seen, of which some may belong together."""
        if self.folds is not None:
            return subsets.fold(y, self.folds, self.fold, derive(seed, "folds"), whole)
        kept, held = subsets.hold_out(y, self.validation, rng, whole)
        if self.validation > 0 and not len(held):
            raise InputError(
                f"target.validation={self.validation} of {len(y)} labels leaves none to select on; "
                "set target.validation=0 selection=last, or see more labels"
            )
        return kept, held

    def _damaged(
        self, train: Samples, names: tuple[str, ...], gone: np.random.Generator, noise: np.random.Generator
    ) -> Samples:
        """The training samples with labels that are missing or wrong."""
        if self.missing_labels and has_classes(train.y, self.data.classes):
            kept, _ = subsets.hold_out(train.y.numpy(), self.missing_labels, gone)
            train = train.take(torch.from_numpy(kept))
            _check_left(train.y.numpy(), names, f"target.missing_labels={self.missing_labels}")
        elif self.missing_labels:
            train = train.relabelled(missing.without_labels(train.y, self.missing_labels, gone))
        if self.noise:
            train = train.relabelled(torch.from_numpy(subsets.noisy(train.y.numpy(), self.noise, len(names), noise)))
        return train

    def _check_classes(self, y: subsets.Labels, names: tuple[str, ...], given: Tensor) -> None:
        if not has_classes(given, self.data.classes):
            for key, value, none in (("imbalance", self.imbalance, 1.0), ("noise", self.noise, 0.0)):
                if value != none:
                    raise InputError(f"target.{key}={value} is about classes, and this target's labels are none")
            if self.missing_labels and not (given.is_floating_point() and given.ndim <= 2):
                raise InputError(
                    f"target.missing_labels={self.missing_labels} is about classes, numbers and columns of labels; in "
                    "masks, boxes and tokens mark them yourself"
                )
            return
        if len(names) < 2:
            raise InputError(f"the set has one class, '{names[0]}'; classification needs at least two")
        absent = sorted(set(range(len(names))) - set(y.tolist()))
        if absent:
            raise InputError(f"class '{names[absent[0]]}' is missing from the training split ({len(y)} samples)")


def has_classes(y: Tensor, classes: tuple[str, ...]) -> bool:
    """Whether each sample has one label, a class with a name."""
    return y.ndim == 1 and not y.is_floating_point() and bool(classes)


def strata(y: Tensor, classes: tuple[str, ...]) -> tuple[subsets.Labels, tuple[str, ...]]:
    """By what a set is cut into subsets: its classes and their names; for other labels one stratum of all samples."""
    if has_classes(y, classes):
        return y.numpy(), classes
    return np.zeros(len(y), np.int64), ("any",)


def _check_left(y: subsets.Labels, names: tuple[str, ...], setting: str) -> None:
    """See that each class has a label to train on."""
    emptied = np.bincount(y, minlength=len(names)) == 0
    if emptied.any():
        raise InputError(
            f"{setting} leaves class '{names[int(emptied.argmax())]}' no label to train on; hold out less, or see more "
            "labels"
        )


def train_and_test(data: Splits, share: float, by_class: bool = True) -> tuple[Samples, Samples]:
    """A set's own splits; where it has no test split a share of it, the same samples in every run.

    Samples that belong together stay together, see `labels.hold_out`.

    Args:
        data: the set.
        share: of the test split.
        by_class: whether it is the share of each class, which takes their labels, or of all samples.

    Raises:
        InputError: the share leaves no test samples.
    """
    if data.test is not None:
        if not len(data.test):
            raise InputError("the set's own test split holds no samples")
        return data.train, data.test
    y, _ = strata(data.train.y, data.classes if by_class else ())
    kept, held = subsets.hold_out(y, share, np.random.default_rng(subsets.TEST_SPLIT), groups(data.train))
    if not len(held):
        raise InputError(f"target.test={share} leaves no test samples of {len(y)}")
    return data.train.take(torch.from_numpy(kept)), data.train.take(torch.from_numpy(held))
