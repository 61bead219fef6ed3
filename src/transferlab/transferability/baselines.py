"""Accuracies on the features as they are: nearest neighbours, and a linear probe."""

import numpy as np

from transferlab.errors import InputError
from transferlab.seeding import derive
from transferlab.selection.logistic import logistic
from transferlab.transferability.candidate import Array, Candidate, Labels


def neighbours_accuracy(candidate: Candidate, *, neighbours: int) -> float:
    """The share of samples that have the class of most of their nearest neighbours, themselves left out.

    Distances are Euclidean, of features as they are. Of k classes with the most votes each is right by one k-th, so
    that it does not matter what classes are called.

    Args:
        candidate: its features (N, F) and classes (N,) are read.
        neighbours: that vote, from 1 to N - 1.

    Returns:
        A share in [0, 1]; more is better.

    Raises:
        InputError: too few or too many neighbours, no labels, or one class alone.
    """
    from sklearn.neighbors import NearestNeighbors

    y = candidate.classes("neighbours_accuracy")
    if not 1 <= neighbours < len(y):
        raise InputError(f"score neighbours_accuracy: neighbours={neighbours}: from 1 to {len(y) - 1}, one less than N")
    x, y = in_order(candidate.features, y)  # of neighbours that are equally far the first vote
    near = NearestNeighbors(n_neighbors=neighbours).fit(x).kneighbors(return_distance=False)
    votes = np.zeros((len(y), int(y.max()) + 1))
    np.add.at(votes, (np.arange(len(y))[:, None], y[near]), 1)
    ahead = votes == votes.max(1, keepdims=True)
    return float((ahead[np.arange(len(y)), y] / ahead.sum(1)).mean())


def probe_accuracy(candidate: Candidate, *, penalty: float, folds: int) -> float:
    """The cross-validated accuracy of a logistic regression on standardised features.

    Args:
        candidate: its features (N, F) and classes (N,) are read.
        penalty: as `selection.logistic.logistic`'s: of the squared weights, halved, beside the summed loss; above 0.
        folds: at least 2, and at most as many as the smallest class has samples.

    Returns:
        A share in [0, 1]; more is better.

    Raises:
        InputError: a setting out of its range, no labels, one class alone, or a class with fewer samples than folds.
    """
    from sklearn.model_selection import StratifiedKFold

    y = candidate.classes("probe_accuracy")
    if penalty <= 0 or folds < 2:
        raise InputError(f"score probe_accuracy: penalty={penalty} is above 0, folds={folds} at least 2")
    if (least := int(np.bincount(y).min())) < folds:
        raise InputError(
            f"score probe_accuracy: folds={folds}, and a class has {least} samples: lower folds, or take more"
        )
    x, y = in_order(candidate.features, y)
    cuts = StratifiedKFold(folds, shuffle=True, random_state=derive(0, "probe_accuracy")).split(x, y)
    right = sum((logistic(x[rest], y[rest], penalty).predict(x[held]) == y[held]).sum() for rest, held in cuts)
    return float(right / len(y))


def in_order(x: Array, y: Labels) -> tuple[Array, Labels]:
    """Samples and their classes, sorted so that neither how they came nor what the classes are called matters.

    Of samples with equal features those come first whose class has the first samples.

    Args:
        x: (N, F).
        y: 0 to C - 1, (N,).

    Returns:
        The same samples, and their classes numbered anew.
    """
    _, places = np.unique(x, axis=0, return_inverse=True)
    places = places.reshape(-1)
    names = sorted(range(int(y.max()) + 1), key=lambda one: np.sort(places[y == one]).tolist())
    y = np.argsort(names)[y]
    order = np.lexsort((y, places))
    return x[order], y[order]
