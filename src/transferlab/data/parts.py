"""The parts of a target that has been cut, and what the record says of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch

from transferlab.data.duplicates import duplicates
from transferlab.data.samples import Samples, Splits
from transferlab.data.vault import sealed


@runtime_checkable
class Fitted(Protocol):
    """Samples whose encoding is learned from training samples."""

    def fitted_on(self, train: Samples) -> Samples:
        """The same samples, encoded by what these say.

        Raises:
            InputError: they are of another kind.
        """
        ...


def fitted_on(samples: Samples, train: Samples) -> Samples:
    """Samples whose encoding is learned, if it is, from `train`."""
    return samples.fitted_on(train) if isinstance(samples, Fitted) else samples


@dataclass(frozen=True)
class Parts:
    """The parts of a target under one seed.

    Attributes:
        train: with labels that are trained on; none under `labels: none`.
        val: held-out labels that select; None: there are none.
        test: the test split.
        classes: names.
        labels_seen: how many.
        unlabelled: how many samples came without a label and were left out.
        unlabeled: training inputs whose labels are in the vault; None: there are none.
    """

    train: Samples
    val: Samples | None
    test: Samples
    classes: tuple[str, ...]
    labels_seen: int
    unlabelled: int = 0
    unlabeled: Samples | None = None
    hides: bool = False
    """Whether some of these have labels that are not seen."""

    @property
    def inputs(self) -> Samples:
        """Training samples to learn an encoding from: those with labels, or where there are none, those without."""
        return self.train if len(self.train) or self.unlabeled is None else self.unlabeled

    def fitted_on(self, train: Samples) -> "Parts":
        """The same parts, encoded by what the samples of `train` say; as they are where nothing is learned of them."""
        train = fitted_on(train, train)  # once for all
        val, unlabeled = (None if one is None else fitted_on(one, train) for one in (self.val, self.unlabeled))
        test = fitted_on(self.test, train)
        return replace(self, train=fitted_on(self.train, train), val=val, test=test, unlabeled=unlabeled)

    def without_labels(self) -> "Parts":
        """The same parts, of which no label is trained on; those held out go on selecting."""
        if not len(self.train):
            return self
        unlabeled = self.unlabeled if self.unlabeled is not None else sealed(self.train)
        return replace(self, train=self.train.take(torch.zeros(0, dtype=torch.long)), unlabeled=unlabeled)


def sizes(source: Splits | None) -> dict[str, int] | None:
    """Of the source's samples that a run opens, for the record; None: it opens none."""
    if source is None:
        return None
    return {"train": len(source.train), "held": 0 if source.test is None else len(source.test)}


def describe(parts: Parts) -> Mapping[str, object]:
    """Sizes, classes, fingerprints and flaws for the record.

    Test samples among those without labels are none of the flaws: nothing of them is learned by heart.
    """
    held = {name: part for name in ("train", "val", "test") if (part := getattr(parts, name)) is not None and len(part)}
    beside = {} if parts.unlabeled is None else {"unlabeled": parts.unlabeled}
    return {
        "sizes": {name: len(part) for name, part in {**held, **beside}.items()},
        "classes": list(parts.classes),
        "labels_seen": parts.labels_seen,
        "unlabelled": parts.unlabelled,
        "duplicates": duplicates(parts.test, *(part for name, part in held.items() if name != "test")),
        "fingerprints": {name: part.fingerprint() for name, part in {**held, **beside}.items()},
    }
