"""TransRate: how many more bits the features take together than class by class."""

import numpy as np

from transferlab.errors import InputError
from transferlab.transferability.candidate import Array, Candidate


def transrate(candidate: Candidate, *, distortion: float) -> float:
    """The coding rate of the features, less that of each class, weighted by its share of the samples.

    An estimate of the mutual information of features and labels: Huang et al. 2022, "Frustratingly Easy Transferability
    Estimation" (ICML). Features are centred, once, by the mean of all.

    Args:
        candidate: its features (N, F) and classes (N,) are read.
        distortion: epsilon, the squared error up to which features are coded, above 0, in their squared units.

    Returns:
        0 or more, in nats; more is better. 0 where the features do not vary.

    Raises:
        InputError: a distortion of 0 or less, no labels, or one class alone.
    """
    if distortion <= 0:
        raise InputError(f"score transrate: distortion={distortion}: a number above 0")
    y = candidate.classes("transrate")
    z = candidate.features - candidate.features.mean(0)
    counts = np.bincount(y)
    apart = sum(count * coding_rate(z[y == one], distortion) for one, count in enumerate(counts)) / len(y)
    return max(coding_rate(z, distortion) - float(apart), 0.0)


def coding_rate(z: Array, distortion: float) -> float:
    """`1/2 log det(I + Z^T Z / (n epsilon))`, by the smaller of the two products.

    Args:
        z: (n, F).
        distortion: epsilon, above 0.

    Returns:
        Nats a sample.
    """
    product = z.T @ z if z.shape[0] >= z.shape[1] else z @ z.T
    return float(np.linalg.slogdet(np.eye(len(product)) + product / (len(z) * distortion))[1]) / 2
