"""OTDD: what it costs to carry one labelled set into another."""

import numpy as np

from transferlab.extras import library
from transferlab.transferability.candidate import Array, Candidate, Labels, numbered
from transferlab.transferability.gaussians import Gaussian, squared_frechet


def otdd_distance(candidate: Candidate) -> float:
    """The 2-Wasserstein distance of source and target where a label is a Gaussian of its samples' features.

    Between samples it takes `d^2 = |x - x'|^2 + W(y, y')^2`, W the 2-Wasserstein distance of the Gaussians of the two
    classes: Alvarez-Melis & Fusi 2020, "Geometric Dataset Distances via Optimal Transport" (NeurIPS), with p = 2 and
    the Gaussian approximation. The plan is exact, by POT; time grows faster than M N, memory with M N.

    Args:
        candidate: features and classes of source (M,) and target (N,) are read; the class sets may differ.

    Returns:
        0 or more, in units of the features; less is nearer.

    Raises:
        InputError: no samples of the source, no classes of a side, or POT is not installed.
    """
    solver = library("ot", "score otdd_distance solves by POT", "adaptation")
    source, target = candidate.sides("otdd_distance")
    ys = numbered("otdd_distance", "the source", candidate.source_labels)
    yt = numbered("otdd_distance", "the target", candidate.labels)
    costs = squared_distances(source, target) + label_costs(source, ys, target, yt)[np.ix_(ys, yt)]
    return float(np.sqrt(max(float(solver.emd2([], [], costs, numItermax=10**7)), 0.0)))


def squared_distances(source: Array, target: Array) -> Array:
    """`|x - x'|^2` of samples (M, F) and (N, F), (M, N).

    By one matrix product, of samples around their mean: an offset that all share would cost its digits.
    """
    from sklearn.metrics.pairwise import euclidean_distances

    middle = target.mean(0)
    found: Array = euclidean_distances(source - middle, target - middle, squared=True)
    return found


def label_costs(source: Array, ys: Labels, target: Array, yt: Labels) -> Array:
    """Squared 2-Wasserstein distances between the Gaussians of classes, (C_s, C_t).

    Args:
        source: features (M, F).
        ys: 0 to C_s - 1, (M,).
        target: features (N, F).
        yt: 0 to C_t - 1, (N,).
    """
    ours, theirs = (
        [Gaussian.of(x[y == one]) for one in range(int(y.max()) + 1)] for x, y in ((source, ys), (target, yt))
    )
    return np.array([[squared_frechet(one, other) for other in theirs] for one in ours])
