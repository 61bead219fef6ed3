"""Linear CKA: whether two nets see the same in the target's samples."""

import numpy as np

from transferlab.errors import InputError
from transferlab.transferability.candidate import Array, Candidate


def linear_cka(candidate: Candidate) -> float:
    """`|Y^T X|^2 / (|X^T X| |Y^T Y|)` of centred features X and Y of the same samples, norms of Frobenius.

    Kornblith, Norouzi, Lee & Hinton 2019, "Similarity of Neural Network Representations Revisited" (ICML). Biased
    upwards where samples are few for their features; `diagnostics.cka` has the estimate without bias.

    Args:
        candidate: its features (N, F) and its `reference` (N, G) are read.

    Returns:
        Between 0 and 1, the same up to rotation and scale; more is more alike.

    Raises:
        InputError: no reference, or features of one that do not vary.
    """
    first, second = (side - side.mean(0) for side in (candidate.features, candidate.seen_by("linear_cka")))
    for name, side in (("features", candidate.features), ("reference", candidate.seen_by("linear_cka"))):
        if not np.ptp(side, axis=0).any():
            raise InputError(
                f"score linear_cka compares how features vary, and the {name} do not: see what the net reads"
            )
    return float(np.clip(_shared(first, second) / np.sqrt(_shared(first, first) * _shared(second, second)), 0, 1))


def _shared(first: Array, second: Array) -> float:
    """`|Y^T X|^2`, by products of samples where they are fewer."""
    if len(first) < min(first.shape[1], second.shape[1]):
        return float(((first @ first.T) * (second @ second.T)).sum())
    return float(((first.T @ second) ** 2).sum())
