"""The proxy A-distance: how well a classifier tells source and target apart."""

import numpy as np
from numpy.typing import NDArray

from transferlab.errors import InputError
from transferlab.seeding import derive
from transferlab.selection.logistic import logistic
from transferlab.transferability.candidate import Array, Candidate


def proxy_a_distance(candidate: Candidate, *, penalty: float, folds: int) -> float:
    """`2 (1 - 2 e)` with e the held-out error of a classifier of domains, each domain counting half.

    Ben-David, Blitzer, Crammer & Pereira 2007, "Analysis of Representations for Domain Adaptation" (NeurIPS). The
    classifier is `logistic`, its error cross-validated. A sample lies in the same fold on either side, so that a set
    beside itself has the error of chance.

    Args:
        candidate: its `source_features` (M, F) and features (N, F) are read.
        penalty: as `logistic`'s, above 0.
        folds: at least 2, and at most as many as a side has samples.

    Returns:
        Between 0, also where the classifier does worse than chance, and 2; less is nearer.

    Raises:
        InputError: a setting out of its range, no samples of the source, or fewer of a side than folds.
    """
    if penalty <= 0 or folds < 2:
        raise InputError(f"score proxy_a_distance: penalty={penalty} is above 0, folds={folds} at least 2")
    source, target = (side[np.lexsort(side.T)] for side in candidate.sides("proxy_a_distance", least=folds))
    x, domain = np.concatenate([source, target]), np.repeat([0, 1], [len(source), len(target)])
    fold = np.concatenate([_folds(len(side), folds) for side in (source, target)])
    wrong = np.concatenate([_wrong(x, domain, fold == one, penalty) for one in range(folds)])
    where = np.concatenate([domain[fold == one] for one in range(folds)])
    error = (wrong[where == 0].mean() + wrong[where == 1].mean()) / 2
    return max(2 * (1 - 2 * float(error)), 0.0)


def _folds(samples: int, folds: int) -> NDArray[np.int64]:
    """Of each of some samples, the fold it is held out in."""
    return np.random.default_rng(derive(0, "proxy_a_distance")).permutation(samples) % folds


def _wrong(x: Array, domain: NDArray[np.int64], held: NDArray[np.bool_], penalty: float) -> NDArray[np.bool_]:
    """Which of those held out a classifier of the others takes for the other domain."""
    found: NDArray[np.bool_] = logistic(x[~held], domain[~held], penalty).predict(x[held]) != domain[held]
    return found
