"""Which labels of a target are seen: pure functions of the labels and a seed, so that every strategy sees the same."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from transferlab.errors import InputError
from transferlab.seeding import derive

Indices = NDArray[np.int64]
Labels = NDArray[np.int64]

TEST_SPLIT = derive(0, "test split")
"""The seed by which the test samples are cut of a set that has no test split: the same ones in every run."""


def seen(y: Labels, labels: str | int | float, rng: np.random.Generator, names: tuple[str, ...]) -> Indices:
    """The indices of the samples whose labels may be seen.

    Args:
        y: labels, (N,).
        labels: `"all"`; an integer k, k a class; or a share in (0, 1) of each class.
        rng: draws the subset.
        names: of the classes, for messages.

    Returns:
        Sorted indices, (n,).

    Raises:
        InputError: k is larger than a class, a share leaves a class without labels, or `labels` is none of the three.
    """
    if labels == "all":
        return np.arange(len(y))
    if isinstance(labels, bool) or not isinstance(labels, (int, float)) or labels <= 0:
        raise InputError(f"target.labels={labels}: 'none', 'all', an integer k (k a class) or a share between 0 and 1")
    counts = [int((y == label).sum()) for label in range(len(names))]
    if isinstance(labels, int):
        wanted = [labels] * len(names)
    elif labels < 1:
        wanted = [round(labels * count) for count in counts]
    else:
        raise InputError(
            f"target.labels={labels}: a share lies between 0 and 1; for {labels:g} a class write an integer"
        )
    for name, want, have in zip(names, wanted, counts, strict=True):
        if want > have:
            raise InputError(
                f"target.labels={labels}: class '{name}' has only {have} training samples; take at most that"
            )
        if want == 0:
            raise InputError(f"target.labels={labels} leaves class '{name}' ({have} samples) without any label")
    return _per_class(y, wanted, rng)


def long_tail(y: Labels, factor: float, rng: np.random.Generator, classes: int) -> Indices:
    """Thin out the classes exponentially: class c keeps `factor ** (c / (C - 1))` of its samples, one at least.

    Cui et al. 2019, "Class-Balanced Loss Based on Effective Number of Samples", section 5.1 (their imbalance factor is
    the inverse of ours).

    Raises:
        InputError: a factor outside (0, 1].
    """
    if not 0 < factor <= 1:
        raise InputError(f"target.imbalance={factor}: a share above 0, at most 1 (1: no imbalance)")
    shares = [factor ** (label / max(classes - 1, 1)) for label in range(classes)]
    return _per_class(y, [max(1, round(share * int((y == c).sum()))) for c, share in enumerate(shares)], rng)


def hold_out(
    y: Labels, share: float, rng: np.random.Generator, groups: Indices | None = None
) -> tuple[Indices, Indices]:
    """Cut the share of each class, rounded, from the samples: (kept, held out).

    Args:
        y: labels, (N,).
        share: in [0, 1).
        rng: draws which.
        groups: of the samples, (N,); each is kept or held out as a whole, at least one of both, and the share is the
            nearest that is possible in the order drawn, of all samples in place of each class. None: no groups.

    Raises:
        InputError: the share lies outside [0, 1).
    """
    if not 0 <= share < 1:
        raise InputError(f"a held-out share of {share}: it lies in [0, 1)")
    if groups is None:
        wanted = [round(share * int((y == label).sum())) for label in range(int(y.max(initial=-1)) + 1)]
        held = _per_class(y, wanted, rng)
    else:
        held = _whole_groups(groups, round(share * len(y)), rng)
    return np.setdiff1d(np.arange(len(y)), held), held


def fold(y: Labels, folds: int, index: int, seed: int, groups: Indices | None = None) -> tuple[Indices, Indices]:
    """The `index`-th of `folds` stratified folds: (training, held out).

    Args:
        y: labels, (N,).
        folds: how many.
        index: from 0.
        seed: draws which sample lies in which.
        groups: of the samples, (N,); each lies in one fold as a whole, as many groups in each fold, whatever their
            classes. None: no groups.

    Raises:
        InputError: fewer than two folds, no such fold, or a class with fewer samples, or fewer groups, than folds.
    """
    from sklearn.model_selection import StratifiedKFold

    if folds < 2 or not 0 <= index < folds:
        raise InputError(f"target.fold={index} of target.folds={folds}: at least 2 folds, counted from 0")
    if groups is not None:
        return _fold_of_groups(groups, folds, index, seed)
    if (smallest := int(np.unique(y, return_counts=True)[1].min())) < folds:
        raise InputError(
            f"target.folds={folds}: the smallest class has {smallest} labels; take at most that many folds"
        )
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    train, held = list(splitter.split(np.zeros(len(y)), y))[index]
    return train.astype(np.int64), held.astype(np.int64)


def noisy(y: Labels, share: float, classes: int, rng: np.random.Generator) -> Labels:
    """Replace the share of the labels, rounded, by another class drawn uniformly (symmetric label noise).

    Raises:
        InputError: a share outside [0, 1), or one class alone, which has no other.
    """
    if classes < 2 and share > 0:
        raise InputError(f"target.noise={share}: with one class there is no other to take")
    if not 0 <= share < 1:
        raise InputError(f"target.noise={share}: a share in [0, 1)")
    changed = rng.choice(len(y), round(share * len(y)), replace=False)
    result = y.copy()
    result[changed] = (y[changed] + rng.integers(1, classes, len(changed))) % classes
    return result


def ordered(names: Iterable[str]) -> tuple[str, ...]:
    """Each name once: whole numbers in their order, others in the alphabet's."""
    found = set(names)
    whole = all(name.removeprefix("-").isdecimal() for name in found)
    return tuple(sorted(found, key=lambda name: (int(name), name)) if whole else sorted(found))


def check_known(names: Iterable[str], training: Iterable[str], origin: str, training_origin: str) -> None:
    """See that a test split has only classes that training has.

    Raises:
        InputError: it has another.
    """
    if extra := sorted(set(names) - set(training)):
        raise InputError(
            f"{origin} has the classes {extra}, which {training_origin} lacks: give them training samples, or remove "
            "them from the test"
        )


def _per_class(y: Labels, wanted: list[int], rng: np.random.Generator) -> Indices:
    """`wanted[c]` samples of each class c; the first k of a class do not depend on k, so budgets are nested."""
    chosen = [rng.permutation(np.flatnonzero(y == label))[:count] for label, count in enumerate(wanted)]
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, np.int64)


def _whole_groups(groups: Indices, wanted: int, rng: np.random.Generator) -> Indices:
    """Samples of groups that are drawn one by one, as near to `wanted` as they come; some groups are left."""
    names, counts = np.unique(groups, return_counts=True)
    order = rng.permutation(len(names))
    reached = np.cumsum(counts[order])
    taken = 0 if wanted == 0 else min(1 + int(np.abs(reached - wanted).argmin()), len(names) - 1)
    return np.flatnonzero(np.isin(groups, names[order[:taken]]))


def _fold_of_groups(groups: Indices, folds: int, index: int, seed: int) -> tuple[Indices, Indices]:
    """As scikit-learn's GroupKFold that shuffles."""
    names = np.unique(groups)
    if len(names) < folds:
        raise InputError(
            f"target.folds={folds}: the labels are of {len(names)} groups that belong together; take at most that many "
            "folds"
        )
    chosen = np.array_split(np.random.default_rng(seed).permutation(names), folds)[index]
    held = np.isin(groups, chosen)
    return np.flatnonzero(~held), np.flatnonzero(held)
