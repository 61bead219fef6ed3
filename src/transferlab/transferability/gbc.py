"""GBC: how little the target's classes overlap, each taken as a Gaussian in feature space."""

from typing import Literal

import numpy as np

from transferlab.errors import InputError, unknown
from transferlab.transferability.candidate import Array, Candidate, Labels


def gbc(candidate: Candidate, *, covariance: Literal["spherical", "diagonal"], floor: float) -> float:
    """Minus the sum, over all ordered pairs of classes, of the Bhattacharyya coefficients of their Gaussians.

    `-sum_{i != j} exp(-D(i, j))` with `D = 1/8 (m_i - m_j)^T S^-1 (m_i - m_j) + 1/2 log(|S| / sqrt(|S_i| |S_j|))` and
    `S = (S_i + S_j) / 2`: Pandy et al. 2022, "Transferability Estimation using Bhattacharyya Class
    Separability" (CVPR).

    Args:
        candidate: its features (N, F) and classes (N,) are read.
        covariance: one variance a class (`spherical`), or one a class and feature (`diagonal`).
        floor: least variance, in squared units of the features, above 0: a class of one sample has none of its own.

    Returns:
        Between -C (C - 1), where all classes are one, and 0; more is better.

    Raises:
        InputError: no such covariance, a floor of 0 or less, no labels, or one class alone.
    """
    if covariance not in ("spherical", "diagonal"):
        raise unknown("covariance of score gbc", covariance, ("spherical", "diagonal"))
    if floor <= 0:
        raise InputError(f"score gbc: floor={floor}: a variance above 0")
    means, variances = _gaussians(candidate.features, candidate.classes("gbc"))
    if covariance == "spherical":
        variances = np.broadcast_to(variances.mean(1, keepdims=True), variances.shape)
    variances = np.maximum(variances, floor)
    rows = (_distances(means, variances, number) for number in range(len(means)))
    return -float(sum(np.delete(np.exp(-row), number).sum() for number, row in enumerate(rows)))


def _distances(means: Array, variances: Array, number: int) -> Array:
    """Of one class to each, (C,)."""
    middle = (variances + variances[number]) / 2
    apart = ((means - means[number]) ** 2 / middle).sum(1) / 8
    shapes = np.log(middle) - (np.log(variances) + np.log(variances[number])) / 2
    found: Array = apart + np.maximum(shapes.sum(1) / 2, 0)
    return found


def _gaussians(features: Array, y: Labels) -> tuple[Array, Array]:
    """Means and variances of each class, (C, F) each."""
    parts = [features[y == one] for one in range(int(y.max()) + 1)]
    return np.stack([part.mean(0) for part in parts]), np.stack([part.var(0) for part in parts])
