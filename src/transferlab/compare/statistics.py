"""Means and paired differences with their intervals; SciPy does the work."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Interval:
    """A mean with its interval; the bounds are NaN where one value allows none."""

    mean: float
    low: float
    high: float


def student(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """The mean of n values and its Student interval with n - 1 degrees of freedom.

    Args:
        values: one a seed.
        confidence: in (0, 1).
    """
    mean = float(np.mean(values))
    if len(values) < 2:
        return Interval(mean, nan, nan)
    error = float(stats.sem(values))
    if error == 0:
        return Interval(mean, mean, mean)
    low, high = stats.t.interval(confidence, len(values) - 1, loc=mean, scale=error)
    return Interval(mean, float(low), float(high))


def paired(values: Sequence[float], baseline: Sequence[float], confidence: float = 0.95) -> Interval:
    """The mean difference to a baseline, paired by seed, with the Student interval of the differences.

    Args:
        values: one a seed.
        baseline: of the same seeds in the same order.
        confidence: in (0, 1).
    """
    return student(np.subtract(values, baseline).tolist(), confidence)
