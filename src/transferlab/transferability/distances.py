"""How far apart source and target lie in feature space, by their means, covariances and kernels."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch

from transferlab.losses.domains.coral import coral
from transferlab.losses.domains.kernels import Bandwidth, Gaussians
from transferlab.transferability.candidate import Array, Candidate
from transferlab.transferability.gaussians import Gaussian, squared_frechet

_ROWS = 64  # of distances, whose kernels are taken together: so few stay in the processor's cache


def mean_distance(candidate: Candidate) -> float:
    """The Euclidean distance of the mean features of source and target.

    Args:
        candidate: its `source_features` (M, F) and features (N, F) are read.

    Returns:
        0 or more; less is nearer.

    Raises:
        InputError: no samples of the source.
    """
    source, target = candidate.sides("mean_distance")
    return float(np.linalg.norm(source.mean(0) - target.mean(0)))


def mmd_distance(candidate: Candidate, *, kernels: int, factor: float, bandwidth: Bandwidth) -> float:
    """The distance of the mean embeddings of source and target under a sum of Gaussian kernels.

    The root of the V-statistic of Gretton et al. 2012, "A Kernel Two-Sample Test" (JMLR 13): that of
    `losses.domains.kernels.mean_discrepancy`'s `quadratic`, without its gradient. Time and memory grow with (M + N)^2.

    Args:
        candidate: its `source_features` (M, F) and features (N, F) are read.
        kernels: see `Gaussians`.
        factor: see `Gaussians`.
        bandwidth: see `Gaussians`.

    Returns:
        Between 0 and the root of twice the kernels; less is nearer.

    Raises:
        InputError: no samples of the source, kernels that are none, or samples that are all alike.
    """
    widths = Gaussians("score mmd_distance: ", kernels, factor, bandwidth)
    source, target = candidate.sides("mmd_distance")
    strips = upper_squares(np.concatenate([source, target]))
    pairs = np.concatenate([row[number + 1 :] for strip in strips for number, row in enumerate(strip)])
    widths = replace(widths, bandwidth=float(widths.middle(torch.from_numpy(pairs))))
    shares = np.repeat([1 / len(source), -1 / len(target)], [len(source), len(target)])
    squared = _weighed((widths.of(rows, rows).numpy() for rows in map(torch.from_numpy, strips)), shares)
    # what is left of zero after float64's round-off counts as zero
    return float(np.sqrt(squared)) if squared > 1e-14 * kernels else 0.0


def upper_squares(rows: Array) -> list[Array]:
    """Squared distances of samples (P, F), of each from itself on: strips of a few rows, the first (64, P).

    By matrix products of samples around their mean: an offset that all share would cost its digits.
    """
    aside = rows - rows.mean(0)
    lengths = (aside**2).sum(1)
    found = []
    for first in range(0, len(rows), _ROWS):
        few = slice(first, first + _ROWS)
        strip = lengths[few, None] + lengths[first:] - 2 * aside[few] @ aside[first:].T
        found.append(np.maximum(strip, 0, out=strip))
        np.fill_diagonal(strip, 0)
    return found


def _weighed(kernels: Iterable[Array], shares: Array) -> float:
    """The sum over all pairs of samples of their kernel times the shares of both, (P,); kernels come in strips."""
    total, first = 0.0, 0
    for rows in kernels:
        others = 2 * shares[first:]
        others[: len(rows)] /= 2  # pairs among these rows come twice
        total += float(shares[first : first + len(rows)] @ rows @ others)
        first += len(rows)
    return total


def coral_distance(candidate: Candidate) -> float:
    """The squared distance of the covariances of source and target, `losses.domains.coral.coral`.

    Args:
        candidate: its `source_features` (M, F) and features (N, F) are read.

    Returns:
        0 or more; less is nearer. Means do not matter.

    Raises:
        InputError: no samples of the source, or one of a side.
    """
    source, target = map(torch.from_numpy, candidate.sides("coral_distance", least=2))
    return float(coral(source, target))


def frechet_distance(candidate: Candidate) -> float:
    """The squared Fréchet distance of Gaussians with the means and covariances of source and target.

    As the FID is reported, without a root: Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule Converge
    to a Local Nash Equilibrium" (NeurIPS); see `squared_frechet`.

    Args:
        candidate: its `source_features` (M, F) and features (N, F) are read.

    Returns:
        0 or more, in squared units of the features; less is nearer.

    Raises:
        InputError: no samples of the source, or one of a side.
    """
    source, target = candidate.sides("frechet_distance", least=2)
    return squared_frechet(Gaussian.of(source), Gaussian.of(target))
