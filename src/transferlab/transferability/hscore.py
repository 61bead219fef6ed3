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
    y = candidate.classes("h_score")
    aside = candidate.features - candidate.features.mean(0)
    return _traced(aside.T @ aside / len(y), between(candidate.features, y))


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
    from sklearn.covariance import ledoit_wolf

    y = candidate.classes("shrunk_h_score")
    spread, share = ledoit_wolf(candidate.features)
    return _traced(spread, (1 - share) * between(candidate.features, y))


def between(features: Array, y: Labels) -> Array:
    """The covariance of the means of the classes, each counted as often as it has samples.

    Args:
        features: (N, F).
        y: 0 to C - 1, (N,).

    Returns:
        (F, F).
    """
    counts = np.bincount(y)
    sums = np.zeros((len(counts), features.shape[1]))
    np.add.at(sums, y, features - features.mean(0))
    rows = sums / np.sqrt(counts * len(y))[:, None]
    found: Array = rows.T @ rows
    return found


def _traced(spread: Array, of_means: Array) -> float:
    from scipy.linalg import pinvh

    return float((pinvh(spread) * of_means).sum()) if spread.any() else 0.0
