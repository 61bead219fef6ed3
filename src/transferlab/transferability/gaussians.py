"""Gaussians in feature space, and how far apart two of them are."""

from dataclasses import dataclass

import numpy as np

from transferlab.transferability.candidate import Array


@dataclass(frozen=True)
class Gaussian:
    """A mean, and a root of a covariance: rows R with `cov = R^T R`, no more of them than samples or features.

    Attributes:
        mean: (F,).
        root: (K, F).
    """

    mean: Array
    root: Array

    @classmethod
    def of(cls, rows: Array) -> "Gaussian":
        """That of samples (n, F), by n - 1; of one sample it has no width."""
        mean = rows.mean(0)
        root = (rows - mean) / np.sqrt(max(len(rows) - 1, 1))
        return cls(mean, root if len(root) <= root.shape[1] else np.asarray(np.linalg.qr(root, mode="r")))

    @property
    def spread(self) -> float:
        """The trace of its covariance."""
        return float((self.root**2).sum())


def squared_frechet(one: Gaussian, other: Gaussian) -> float:
    """`|m_1 - m_2|^2 + tr(C_1 + C_2 - 2 (C_1 C_2)^(1/2))`, the squared 2-Wasserstein distance of two Gaussians.

    Dowson & Landau 1982, "The Fréchet distance between multivariate normal distributions" (Journal of Multivariate
    Analysis 12). The trace of the root is the sum of the singular values of `R_1 R_2^T`: no root of a matrix is taken.

    Returns:
        0 or more.
    """
    shared = np.linalg.svdvals(one.root @ other.root.T).sum()
    widths = one.spread + other.spread - 2 * float(shared)
    return float(((one.mean - other.mean) ** 2).sum()) + max(widths, 0.0)
