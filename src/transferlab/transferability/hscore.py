"""H-score: how much of the features' spread lies between the target's classes."""

import numpy as np

from transferlab.transferability.candidate import Array, Candidate, Labels


def h_score(candidate: Candidate) -> float:
    """`tr(cov(f)^-1 cov(E[f | y]))`, with a pseudo-inverse.

    Bao et al. 2019, "An Information-Theoretic Approach to Transferability in Task Transfer Learning" (ICIP). It does
    not change under any invertible linear map of the features. With fewer samples than features it says next to
    nothing: see `shrunk_h_score`.

    Args:
        candidate: its features (N, F) and classes (N,) are read.

    Returns:
        Between 0 and C - 1; more is better. 0 where the features do not vary.

    Raises:
        InputError: no labels, or one class alone.
    """
    y, spread = candidate.classes("h_score"), candidate.spread
    return float((between(spread.places, y) / spread.variances).sum())


def shrunk_h_score(candidate: Candidate) -> float:
    """`tr(S^-1 (1 - a) cov(E[f | y]))` with S the covariance drawn by a share a towards a multiple of the identity.

    Ibrahim, Ponomareva & Mazumder 2021, "Newer is not always better: Rethinking transferability metrics, their
    peculiarities, stability and performance" (arXiv:2110.06893); `a` by Ledoit & Wolf 2004, "A well-conditioned
    estimator for large-dimensional covariance matrices" (Journal of Multivariate Analysis 88).

    Args:
        candidate: its features (N, F) and classes (N,) are read.

    Returns:
        Between 0 and C - 1; more is better. 0 where the features do not vary.

    Raises:
        InputError: no labels, or one class alone.
    """
    from sklearn.covariance import ledoit_wolf_shrinkage

    y, spread = candidate.classes("shrunk_h_score"), candidate.spread
    share = ledoit_wolf_shrinkage(candidate.features)
    shrunk = (1 - share) * spread.variances + share * spread.variances.sum() / candidate.features.shape[1]
    return float(((1 - share) * between(spread.places, y) / shrunk).sum())


def between(places: Array, y: Labels) -> Array:
    """The variance of the means of the classes along each direction, each counted as often as it has samples.

    Args:
        places: with mean 0, (N, K).
        y: 0 to C - 1, (N,).

    Returns:
        (K,).
    """
    means = np.stack([places[y == one].mean(0) for one in range(int(y.max()) + 1)])
    found: Array = np.bincount(y) @ means**2 / len(y)
    return found
