"""Joint distribution adaptation: of both domains not only the means are made alike, but those of each class too."""

import numpy as np
from numpy.typing import NDArray

from transferlab.errors import InputError
from transferlab.shallow.adapting import KERNELS, Adapted, Array, check_components

Labels = NDArray[np.int64]


def jda(
    source: Array,
    target: Array,
    components: int,
    kernel: str,
    regularization: float,
    classes: tuple[Labels, Labels] | None = None,
) -> Adapted:
    """Project both domains on components of much variance in which their means, and those of each class, lie close.

    Long, Wang, Ding, Sun & Yu 2013, "Transfer Feature Learning with Joint Distribution Adaptation" (ICCV), equation 9
    and algorithm 1: leading eigenvectors of `(K sum_c M_c K + regularization I)^-1 K H K`, H what centres, `M_0` the
    squared distance of the domains' means and `M_c` that of class c's, where the target's classes are predictions: none
    in the first round, then those of the round before. As in their experiments features have length 1, and so have what
    is made of them.

    Args:
        source: (n, F).
        target: (m, F).
        components: D, at most n + m.
        kernel: `linear`, or `rbf` with gamma 1 / F.
        regularization: of the projection, above 0.
        classes: of the source (n,) and as predicted of the target (m,); None: means alone.

    Raises:
        InputError: more components than there are samples, a regularization not above 0, or no such kernel.
    """
    from scipy.linalg import eigh
    from sklearn.metrics.pairwise import pairwise_kernels
    from sklearn.preprocessing import normalize

    n, m = len(source), len(target)
    check_components(components, n + m, "samples of both domains")
    if kernel not in KERNELS or regularization <= 0:
        raise InputError(f"strategy.solver.adapt: kernel is one of {', '.join(KERNELS)}, and regularization is above 0")
    both = normalize(np.concatenate([source, target]))
    gram = pairwise_kernels(both, metric=kernel)
    centred, apart = gram - gram.mean(0), _apart(n, m, classes) @ gram
    held = regularization * np.eye(n + m) + apart.T @ apart
    _, vectors = eigh(centred.T @ centred, held, subset_by_index=[n + m - components, n + m - 1])

    def projected(x: Array) -> Array:
        return np.asarray(normalize(pairwise_kernels(normalize(x), both, metric=kernel) @ vectors))

    return Adapted(projected(source), projected)


def _apart(n: int, m: int, classes: tuple[Labels, Labels] | None) -> Array:
    """Rows that take the mean of samples of the source less that of samples of the target: of all, then of each class.

    The sum of their outer products with themselves is that of `M_c`. A class that is predicted nowhere has no row.
    """
    groups = [(np.full(n, True), np.full(m, True))]
    if classes is not None:
        ours, theirs = classes
        groups += [(ours == one, theirs == one) for one in np.intersect1d(ours, theirs)]
    return np.array([np.concatenate([a / a.sum(), -(b / b.sum())]) for a, b in groups])
