"""Means, of scores or of paired differences, their intervals and tests; SciPy and statsmodels do the work."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, nan, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import stats

CONFIDENCE = 0.95
# below, resamples in which all values are one would make up too much of the tails
FEWEST_FOR_BOOTSTRAP = 5
_RESAMPLES = 2_000
_EXACT_UP_TO = 12  # pairs: 4,096 sign changes; beyond, as many random ones as follow
_RANDOM_SIGNS = 9_999


@dataclass(frozen=True)
class Interval:
    """A mean with its interval; the bounds are NaN where there are too few values for one."""

    mean: float
    low: float
    high: float


def student(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """The mean of n values and its Student interval with n - 1 degrees of freedom.

    Args:
        values: one a seed.
        confidence: in (0, 1).
    """
    n, mean = len(values), float(np.mean(values))
    if n < 2:
        return Interval(mean, nan, nan)
    error = float(np.std(values, ddof=1)) / sqrt(n)
    if error == 0:
        return Interval(mean, mean, mean)
    width = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * error
    return Interval(mean, mean - width, mean + width)


def bootstrap(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """The mean of n values and its studentised bootstrap interval (bootstrap-t, Efron & Tibshirani 1993, chapter 12).

    It assumes no normal scores. Percentile and BCa intervals, which SciPy has, cover 83 % instead of 95 % at the five
    seeds that are usual; this one keeps its promise from five values on. Below, and where so many values are equal that
    resamples have no spread, it has no bounds.

    Args:
        values: one a seed.
        confidence: in (0, 1).
    """
    sample = np.asarray(values, float)
    n, mean = len(sample), float(np.mean(values))
    if n < FEWEST_FOR_BOOTSTRAP:
        return Interval(mean, nan, nan)
    error = float(sample.std(ddof=1)) / sqrt(n)
    if error == 0:
        return Interval(mean, mean, mean)
    drawn = sample[np.random.default_rng(n).integers(0, n, (_RESAMPLES, n))]
    distance, spread = drawn.mean(1) - mean, drawn.std(1, ddof=1) / np.sqrt(n)
    far = np.where(distance == 0, 0.0, np.copysign(inf, distance))
    t = np.divide(distance, spread, out=far, where=spread > 0)
    low, high = np.quantile(t, [(1 - confidence) / 2, (1 + confidence) / 2], method="inverted_cdf")
    if not np.isfinite([low, high]).all():
        return Interval(mean, nan, nan)
    return Interval(mean, mean - float(high) * error, mean - float(low) * error)


def permutation_p(differences: Sequence[float]) -> float:
    """Two-sided p of the paired permutation test of mean 0: how often changed signs give a mean as far from 0.

    Exact up to 12 pairs, over 9,999 random changes of sign beyond. The smallest p that n pairs can give is 2 / 2^n,
    so fewer than six can never fall below 0.05. Fewer than two pairs give NaN; where all are 0 it is 1.

    Args:
        differences: one a seed.
    """
    d = np.asarray(differences, float)
    if len(d) < 2:
        return nan
    if len(d) <= _EXACT_UP_TO:
        signs = 1 - 2 * ((np.arange(2 ** len(d))[:, None] >> np.arange(len(d))) & 1)
        return float(np.mean(_as_far(signs @ d, d.sum())))
    signs = 1 - 2 * np.random.default_rng(len(d)).integers(0, 2, (_RANDOM_SIGNS, len(d)))
    return float((_as_far(signs @ d, d.sum()).sum() + 1) / (_RANDOM_SIGNS + 1))


def wilcoxon_p(differences: Sequence[float]) -> float:
    """Two-sided p of Wilcoxon's signed-rank test; NaN for fewer than two pairs, 1 where all are equal.

    Args:
        differences: one a seed.
    """
    d = np.asarray(differences, float)
    if len(d) < 2:
        return nan
    if not d.any():
        return 1.0
    # equal differences may differ in their last digits, and share a rank
    return float(stats.wilcoxon(np.round(d / np.abs(d).max(), 9)).pvalue)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction (1979) of the tests of one family; NaN stays, and is no member.

    Args:
        p: uncorrected.
    """
    # statsmodels has this too, but collects garbage at every call: seconds for a study of many settings
    raw = np.asarray(p, float)
    order = np.argsort(raw)[: np.count_nonzero(~np.isnan(raw))]  # NaN comes last
    corrected = raw.copy()
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(raw[order] * np.arange(len(order), 0, -1)))
    return [float(value) for value in corrected]


def seeds_to_settle(differences: Sequence[float], power: float = 0.8, most: int = 10_000) -> float:
    """How many seeds a paired t-test at 5 % needs to find a difference as large as the one seen, with its spread.

    Args:
        differences: one a seed.
        power: the chance of finding it.
        most: beyond, the answer is infinity.

    Returns:
        The number; infinity where there is no difference, NaN for fewer than two seeds.
    """
    from statsmodels.stats.power import TTestPower

    if len(differences) < 2:
        return nan
    mean, spread = abs(float(np.mean(differences))), float(np.std(differences, ddof=1))
    if mean == 0:
        return inf
    if spread == 0:
        return 2.0
    solver = TTestPower()

    def found(seeds: int) -> bool:
        # NaN: so large an effect that its power is 1 to the last digit
        return not solver.power(mean / spread, seeds, 1 - CONFIDENCE) < power

    low, high = 1, 2
    while not found(high):
        low, high = high, 2 * high
        if low > most:
            return inf
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if found(middle) else (middle, high)
    return float(high) if high <= most else inf


def _as_far(sums: NDArray[np.float64], observed: float) -> NDArray[np.bool_]:
    # equal sums may differ in their last digits, and count as equal
    return np.abs(sums) >= abs(observed) * (1 - 1e-9) - 1e-15
