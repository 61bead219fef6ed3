"""LogME: how probable the target's labels are under a linear model of the features, at its best priors."""

import numpy as np
from scipy.linalg import eigh_tridiagonal, lapack
from scipy.optimize import minimize_scalar
from scipy.sparse import csc_array

from transferlab.errors import InputError
from transferlab.transferability.candidate import Array, Candidate

_STEP = 0.25  # of log t between the places that are looked at; the evidence bends over about 1
_BEYOND = 18.0  # in log t, on both sides of the features' own scales
_EXACT = 1e-12  # share of the labels' square that is left over where a fit counts as exact


def logme(candidate: Candidate) -> float:
    """The logarithm of the maximum evidence of the labels, a sample, mean over classes or targets.

    With `y ~ N(F w, 1/beta)` and `w ~ N(0, 1/alpha)` the evidence is that of `y ~ N(0, F F^T / alpha + I / beta)`; its
    maximum over alpha and beta is taken: You, Liu, Wang & Long 2021, "LogME: Practical Assessment of Pre-trained Models
    for Transfer Learning" (ICML). A class is a target of 1 for its samples and 0 for the others; numbers to be
    regressed on are taken as they are.

    The authors iterate on alpha and beta. For a given `t = alpha / beta` the best beta is known, so that here one
    number is searched for, over all scales of the features; the best of all maxima is found and no start matters.

    Args:
        candidate: its features (N, F) and its labels, classes or numbers (N,) or (N, T), are read.

    Returns:
        Nats a sample; more is better. Numbers that are s times as large lower it by log s. A fit that leaves less of
        the labels' square than one part in 10^12 counts as leaving that.

    Raises:
        InputError: no labels, one class alone, or numbers that are all 0.
    """
    targets = _targets(candidate)
    scales, parts, rest = projected(candidate.features, targets)
    return float(np.mean(maximum_evidence(scales, parts, rest, len(candidate.features))))


def projected(features: Array, targets: Array | csc_array) -> tuple[Array, Array, Array]:
    """Targets seen along the principal directions of the samples.

    By the eigenvectors of the smaller of F^T F and F F^T: no decomposition of F itself, and no N x F product with
    them. Directions that round-off cannot tell from nothing are left out, their part of the targets in the rest.

    Args:
        features: (N, F).
        targets: (N, C); of classes mostly zeros, and then as a sparse array.

    Returns:
        Squared singular values of the features, (K,); the targets' squared parts along each direction, (K, C); and
        what is left of their squares, (C,).
    """
    samples, size = features.shape
    targets, wide = csc_array(targets), size >= samples
    if wide:
        scales, turned = along_eigenvectors(features @ features.T, targets.toarray())
    else:
        scales, turned = along_eigenvectors(features.T @ features, (targets.T @ features).T)
    kept = scales > scales[-1] * max(samples, size) * np.finfo(float).eps
    scales, parts = scales[kept], turned[kept] ** 2
    if not wide:
        parts /= scales[:, None]
    squares = (targets**2).sum(0)
    if len(scales) == samples:
        return scales, parts, np.zeros_like(squares)
    return scales, parts, np.maximum(squares - parts.sum(0), _EXACT * squares)


def along_eigenvectors(matrix: Array, columns: Array) -> tuple[Array, Array]:
    """Columns seen along the eigenvectors of a symmetric matrix, which are not formed.

    With `M = Q T Q^T`, T tridiagonal, and `T = V L V^T` it takes `V^T (Q^T Y)`; to form `Q V` would take half of the
    time.

    Args:
        matrix: (n, n).
        columns: Y, (n, C).

    Returns:
        The eigenvalues, the least first (n,), and the columns along their vectors, (n, C).
    """
    if len(matrix) == 1:
        return matrix[0], columns
    size = int(lapack.dsytrd_lwork(len(matrix), lower=1)[0])
    reflectors, middle, beside, factors, _ = lapack.dsytrd(matrix, lower=1, lwork=size)
    values, vectors = eigh_tridiagonal(middle, beside)
    turned = columns.copy()
    turned[1:] = lapack.dormqr("L", "T", reflectors[1:, :-1], factors, columns[1:], lwork=size)[0]
    return values, vectors.T @ turned


def maximum_evidence(scales: Array, parts: Array, rest: Array, samples: int) -> Array:
    """The largest log evidence of each target, a sample, over all alpha and beta.

    At `t = alpha / beta` the best beta is N / q with `q = sum_k parts_k t / (t + scales_k) + rest`, and the evidence
    `-N/2 (log(2 pi q / N) + 1) - 1/2 sum_k log(1 + scales_k / t)`. Where t is without end the features say nothing;
    where it goes to 0 they say all, which has a finite evidence if there are as many directions as samples.

    Args:
        scales: squared singular values, above 0, (K,).
        parts: squared parts of the targets along their directions, (K, C).
        rest: of their squares, (C,).
        samples: N.

    Returns:
        (C,), nats a sample.
    """
    nothing = _gaussian(parts.sum(0) + rest, samples)
    if not len(scales):
        return nothing
    logs = np.arange(np.log(scales.min()) - _BEYOND, np.log(scales.max()) + _BEYOND, _STEP)
    shrunk = 1 / (1 + np.exp(np.log(scales) - logs[:, None]))
    penalties = np.logaddexp(0, np.log(scales) - logs[:, None]).sum(1) / (2 * samples)
    evidence = _gaussian(shrunk @ parts + rest, samples) - penalties[:, None]
    best: Array = np.maximum(nothing, evidence.max(0))
    # every peak: a narrow one may lie lower on the grid than a broad one and be higher
    peaks = (evidence[1:-1] >= evidence[:-2]) & (evidence[1:-1] >= evidence[2:])
    for place, number in np.argwhere(peaks):
        found = _refined(scales, parts[:, number], float(rest[number]), samples, float(logs[place + 1]))
        best[number] = max(best[number], found)
    if len(scales) == samples:
        everything = _gaussian((parts / scales[:, None]).sum(0), samples) - np.log(scales).sum() / (2 * samples)
        best = np.maximum(best, everything)
    return best


def _gaussian(squares: Array, samples: int) -> Array:
    found: Array = -0.5 * (np.log(2 * np.pi * squares / samples) + 1)
    return found


def _refined(scales: Array, parts: Array, rest: float, samples: int, near: float) -> float:
    """The largest evidence of one target around a place on the grid."""

    def minus(log: float) -> float:
        ratio = scales * np.exp(-log)
        square = np.array((parts / (1 + ratio)).sum() + rest)
        return float(np.log1p(ratio).sum() / (2 * samples) - _gaussian(square, samples))

    return -float(minimize_scalar(minus, bounds=(near - _STEP, near + _STEP), method="bounded").fun)


def _targets(candidate: Candidate) -> Array | csc_array:
    """What is regressed on, (N, C)."""
    labels = candidate.labels
    if labels is None or labels.dtype == np.int64:
        y = candidate.classes("logme")
        return csc_array((np.ones(len(y)), (np.arange(len(y)), y)))
    numbers = labels.reshape(len(labels), -1).astype(np.float64)
    if not numbers.any(0).all():
        raise InputError("score logme: a target to be regressed on is 0 for every sample: leave it out")
    return numbers
