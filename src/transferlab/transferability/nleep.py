"""NLEEP: LEEP of clusters in the features, for nets without a classifier."""

import warnings

import numpy as np

from transferlab.errors import InputError
from transferlab.seeding import derive
from transferlab.transferability.candidate import Array, Candidate
from transferlab.transferability.leep import expected_prediction
from transferlab.transferability.spread import Spread


def nleep(candidate: Candidate, *, energy: float, components: int) -> float:
    """`leep` with the clusters of a Gaussian mixture in the place of the source's classes.

    Li et al. 2021, "Ranking Neural Checkpoints" (CVPR): principal components, a mixture of Gaussians on them, and
    LEEP of each sample's posterior over the Gaussians; five Gaussians a class.

    Args:
        candidate: its features (N, F) and classes (N,) are read.
        energy: share of the variance that the principal components keep, in (0, 1].
        components: Gaussians for each class of the target, at least 1.

    Returns:
        At most 0, in nats; more is better.

    Raises:
        InputError: a setting out of its range, no labels, one class alone, more Gaussians than samples, or features
            that are all the same.
    """
    if not 0 < energy <= 1 or components < 1:
        raise InputError(f"score nleep: energy={energy} is above 0 and at most 1, components={components} at least 1")
    y = candidate.classes("nleep")
    gaussians = components * (int(y.max()) + 1)
    if gaussians > len(y):
        raise InputError(f"score nleep fits {gaussians} Gaussians to {len(y)} samples: lower components, or take more")
    # sorted, because a mixture starts from places in the list
    order = np.lexsort(candidate.features.T)
    return expected_prediction(posterior(principal(candidate.spread, energy)[order], gaussians), y[order])


def principal(spread: Spread, energy: float) -> Array:
    """The fewest principal components that hold a share of the variance.

    Args:
        spread: of the samples.
        energy: the share, in (0, 1].

    Returns:
        (N, K).

    Raises:
        InputError: the features do not vary.
    """
    if not len(spread.variances):
        raise InputError(
            "score nleep looks for clusters, and all samples have the same features: see what the net reads"
        )
    held = np.cumsum(spread.variances) / spread.variances.sum()
    return spread.places[:, : int(np.searchsorted(held, energy - 1e-12)) + 1]


def posterior(x: Array, gaussians: int) -> Array:
    """Of each sample, the probabilities of the Gaussians of a mixture fitted to all, (N, K); the same each time.

    Args:
        x: (N, D).
        gaussians: how many, at most N.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    mixture = GaussianMixture(gaussians, reg_covar=1e-6 * float(x.var(0).mean()), random_state=derive(0, "nleep"))
    with warnings.catch_warnings():  # its score is that of the mixture it came to
        warnings.simplefilter("ignore", ConvergenceWarning)
        found: Array = mixture.fit(x).predict_proba(x)
    return found
