"""Shallow domain adaptation: two sets of features are made alike, and no net trains.

Each function takes features of the source (n, F) and of the target (m, F), float64, without a label of the target, and
no label of the source either.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferlab.errors import InputError
from transferlab.extras import library

Array = NDArray[np.float64]
KERNELS = ("linear", "rbf")
"""In whose spaces can be projected."""


@dataclass(frozen=True)
class Adapted:
    """What a classifier sees in place of the features.

    Attributes:
        source: (n, D).
        target: makes target features (k, F), those that were adapted to or others, what the classifier sees, (k, D).
        weights: of the source's samples, (n,); None: all alike.
    """

    source: Array
    target: Callable[[Array], Array]
    weights: Array | None = None


def unchanged(source: Array, target: Array) -> Adapted:
    """The features as they are."""
    return Adapted(source, np.asarray)


def coral(source: Array, target: Array, shrinkage: float) -> Adapted:
    """Whiten the source's features and colour them by the target's covariance; both means become 0.

    Sun, Feng & Saenko 2016, "Return of Frustratingly Easy Domain Adaptation" (AAAI), algorithm 1:
    `(C_s + I)^(-1/2) (C_t + I)^(1/2)`. Here each C becomes `(1 - shrinkage) C + shrinkage * tr(C) / F * I`: of
    standardised features 0.5 is the paper's, whatever their number.

    Args:
        source: (n, F).
        target: (m, F).
        shrinkage: of the covariances, in (0, 1].

    Raises:
        InputError: a shrinkage out of its range, or skada is missing.
    """
    if not 0 < shrinkage <= 1:
        raise InputError(f"strategy.solver.adapt.shrinkage={shrinkage}: above 0, at most 1")
    return _mapped(_skada().CORALAdapter(reg=float(shrinkage)), source, target)


def tca(source: Array, target: Array, components: int, kernel: str, mu: float) -> Adapted:
    """Project both domains on transfer components: much variance, and means that lie close together.

    Pan, Tsang, Kwok & Yang 2011, "Domain Adaptation via Transfer Component Analysis" (IEEE Transactions on Neural
    Networks 22), section III: leading eigenvectors of `(I + mu K L K)^-1 K H K`, L the squared distance of means, H
    what centres. Of features that are standardised by domain, means are 0 and a linear kernel has L without effect.

    Args:
        source: (n, F).
        target: (m, F).
        components: D, at most n + m.
        kernel: `linear`, or `rbf` with gamma 1 / F.
        mu: how much the distance of means counts.

    Raises:
        InputError: more components than there are samples, a mu below 0, or no such kernel.
    """
    from scipy.linalg import eigh
    from sklearn.metrics.pairwise import pairwise_kernels

    n, m = len(source), len(target)
    check_components(components, n + m, "samples of both domains")
    if kernel not in KERNELS or mu < 0:
        raise InputError(f"strategy.solver.adapt: kernel is one of {', '.join(KERNELS)}, and mu at least 0")
    both = np.concatenate([source, target])
    gram = pairwise_kernels(both, metric=kernel)
    centred, apart = gram - gram.mean(0), gram @ np.repeat([1 / n, -1 / m], [n, m])
    held = np.eye(n + m) + mu * np.outer(apart, apart)
    _, vectors = eigh(centred.T @ centred, held, subset_by_index=[n + m - components, n + m - 1])
    return Adapted(gram[:n] @ vectors, lambda x: pairwise_kernels(x, both, metric=kernel) @ vectors)


def subspace_alignment(source: Array, target: Array, components: int) -> Adapted:
    """Turn the source's principal components towards the target's: `X_s P_s P_s' P_t` against `X_t P_t`.

    Fernando, Habrard, Sebban & Tuytelaars 2013, "Unsupervised Visual Domain Adaptation Using Subspace Alignment"
    (ICCV), algorithm 1.

    Args:
        source: (n, F).
        target: (m, F).
        components: D, principal components of each domain, at most min(n, m, F).

    Raises:
        InputError: more components than there can be, or skada is missing.
    """
    check_components(components, min(*source.shape, *target.shape), "features, or samples of a domain")
    return _mapped(_skada().SubspaceAlignmentAdapter(n_components=components, random_state=0), source, target)


def kmm(source: Array, target: Array, gamma: float | None, iterations: int) -> Adapted:
    """Weigh the source's samples so that their mean meets the target's in the space of an RBF kernel.

    Huang, Smola, Gretton, Borgwardt & Schölkopf 2007, "Correcting Sample Selection Bias by Unlabeled Data" (NIPS),
    equation 12: minimise `1/2 b' K b - kappa' b`, b at least 0, with a mean within `1 - 1/sqrt(n)` of 1. skada solves
    it by Frank and Wolfe's method, which has no upper bound on a weight.

    Args:
        source: (n, F).
        target: (m, F).
        gamma: of `exp(-gamma |x - z|^2)`; None: 1 / F.
        iterations: of the solver; at most as many samples have a weight above 0.

    Raises:
        InputError: a gamma or iterations out of their range, or skada is missing.
    """
    if iterations < 1 or (gamma is not None and gamma <= 0):
        raise InputError("strategy.solver.adapt: iterations is at least 1, gamma above 0 or null")
    adapter = _skada().KMMReweightAdapter(gamma=gamma, max_iter=iterations, solver="frank-wolfe")
    _, given = adapter.fit_transform(np.concatenate([source, target]), sample_domain=_domains(source, target))
    return _weighted(source, given["sample_weight"][: len(source)])


def ulsif(source: Array, target: Array, centres: int, width: float, penalty: float) -> Adapted:
    """Weigh the source's samples by the ratio of densities, target over source, fitted by least squares.

    Kanamori, Hido & Sugiyama 2009, "A Least-squares Approach to Direct Importance Estimation" (JMLR 10), section 3:
    of Gaussian kernels k at centres among the target's samples, `a = max(0, (H + penalty I)^-1 h)`, H the mean of
    `k(x) k(x)'` over the source, h that of `k(x)` over the target; the weight of x is `a' k(x)`. The paper's width and
    penalty are chosen by leave-one-out, here they are settings.

    Args:
        source: (n, F).
        target: (m, F).
        centres: kernels, at most; evenly spaced among the target's samples.
        width: of the kernels, as a share of the median distance of source samples and centres.
        penalty: of the squared coefficients, above 0.

    Raises:
        InputError: a setting out of its range, samples that are all alike, or weights that are all 0.
    """
    if centres < 1 or width <= 0 or penalty <= 0:
        raise InputError("strategy.solver.adapt: centres is at least 1, width and penalty above 0")
    places = target[np.linspace(0, len(target) - 1, min(centres, len(target))).round().astype(int)]
    scale = width * float(np.median(_distances(source, places)))
    if not scale:
        raise InputError("strategy.solver.adapt: the median distance of source and target is 0: nothing to weigh by")
    of_source, of_target = (np.exp(-(_distances(x, places) ** 2) / (2 * scale**2)) for x in (source, target))
    squares = of_source.T @ of_source / len(source) + penalty * np.eye(len(places))
    return _weighted(source, of_source @ np.linalg.solve(squares, of_target.mean(0)).clip(0))


def _weighted(source: Array, weights: Array) -> Adapted:
    if not weights.sum() > 0:
        raise InputError("strategy.solver.adapt: all weights of the source are 0: the domains have nothing in common")
    return Adapted(source, np.asarray, weights / weights.mean())


def _mapped(adapter: Any, source: Array, target: Array) -> Adapted:
    """What one of skada's adapters makes of features."""
    both = adapter.fit_transform(np.concatenate([source, target]), sample_domain=_domains(source, target))
    return Adapted(both[: len(source)], lambda x: adapter.transform(x, sample_domain=_domains(source[:0], x)))


def _domains(source: Array, target: Array) -> NDArray[np.int64]:
    """By skada's convention: a source has a number above 0, a target one below."""
    return np.repeat([1, -2], [len(source), len(target)])


def _distances(x: Array, places: Array) -> Array:
    from scipy.spatial.distance import cdist

    return np.asarray(cdist(x, places))


def check_components(components: int, most: int, of: str) -> None:
    """See that there can be so many.

    Args:
        components: of a projection.
        most: of them.
        of: what bounds them.

    Raises:
        InputError: there cannot.
    """
    if not 1 <= components <= most:
        raise InputError(f"strategy.solver.adapt.components={components}: 1 to {most}, as many as there are {of}")


def _skada() -> Any:
    """The library of shallow domain adaptation.

    Raises:
        InputError: it is not installed.
    """
    return library("skada", "strategy.solver.adapt adapts by skada", "adaptation")
