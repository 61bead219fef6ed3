"""Metrics of weighted samples, many draws of a bootstrap at a time, and the intervals that these draws give.

Weights are (D, N): how often each of N samples is in each of D draws. Every metric gives a number for each row, (D,);
under weights of 1 it is what torchmetrics gives.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from transferlab.seeding import derive

Floats: TypeAlias = NDArray[np.float64]
Numbers: TypeAlias = NDArray[np.int64]
Weighted: TypeAlias = Callable[[Floats], Floats]
"""A metric of the samples at hand, from weights (D, N) to (D,)."""

DRAWS = 1000
_AT_ONCE = 2_000_000  # weights in memory


def intervals(metrics: Mapping[str, Weighted], samples: int) -> dict[str, list[float]]:
    """The 95 % interval of each metric over the samples: percentiles 2.5 and 97.5 of 1,000 bootstrap draws.

    Efron 1979, "Bootstrap Methods: Another Look at the Jackknife" (Annals of Statistics). It says what other samples of
    the same kind would have changed, not what another seed would. The draws are the same in every run, so that runs
    tested on the same samples are drawn alike.

    Args:
        metrics: by name.
        samples: N.

    Returns:
        `[low, high]` by name; NaN where a metric is defined in no draw.
    """
    rng = np.random.default_rng(derive(0, "bootstrap"))
    values: dict[str, list[Floats]] = {name: [] for name in metrics}
    for draws in _chunks(DRAWS, max(1, _AT_ONCE // samples)):
        weights = drawn(draws, samples, rng)
        for name, metric in metrics.items():
            values[name].append(metric(weights))
    return {name: _percentiles(np.concatenate(found)) for name, found in values.items()}


def drawn(draws: int, samples: int, rng: np.random.Generator) -> Floats:
    """How often each sample is in each draw of `samples` samples with replacement, (D, N)."""
    picked = rng.integers(samples, size=(draws, samples)) + samples * np.arange(draws)[:, None]
    counts = np.bincount(picked.ravel(), minlength=draws * samples)
    return counts.reshape(draws, samples).astype(np.float64)


def mean(weights: Floats, values: Floats) -> Floats:
    """The mean of a number a sample (N,); NaN where no sample is drawn."""
    return ratio(weights @ values, weights.sum(1))


def class_accuracy(weights: Floats, predicted: Numbers, y: Numbers, classes: int) -> Floats:
    """The mean of the shares that are classed right of the samples of each class that has any."""
    right, _, are = _counts(weights, predicted, y, classes)
    return _over_classes(right / np.maximum(are, 1), are > 0)


def macro_f1(weights: Floats, predicted: Numbers, y: Numbers, classes: int) -> Floats:
    """The mean of the classes' F1."""
    right, said, are = _counts(weights, predicted, y, classes)
    return _over_classes(2 * right / np.maximum(said + are, 1), said + are > 0)


def f1(weights: Floats, predicted: Numbers, y: Numbers) -> Floats:
    """F1 of the class 1, for 0/1 predictions and labels (N,); 0 where neither has any."""
    right, either = weights @ (predicted * y), weights @ (predicted + y)
    found: Floats = 2 * right / np.maximum(either, 1)
    return found


def auroc(weights: Floats, scores: Floats, y: Numbers) -> Floats:
    """The share of pairs of a positive and a negative that are in order, ties a half; NaN where there is no pair."""
    positives, negatives = _by_score(weights, scores, y)
    below = negatives.cumsum(1) - negatives / 2
    return ratio((positives * below).sum(1), positives.sum(1) * negatives.sum(1))


def average_precision(weights: Floats, scores: Floats, y: Numbers) -> Floats:
    """The mean over positives of the precision at their score; NaN where there is no positive."""
    positives, negatives = _by_score(weights, -scores, y)
    found = positives.cumsum(1)
    precision = found / np.maximum(found + negatives.cumsum(1), 1)
    return ratio((positives * precision).sum(1), positives.sum(1))


def absolute_error(weights: Floats, predicted: Floats, y: Floats) -> Floats:
    """The mean absolute error."""
    return mean(weights, np.abs(predicted - y))


def root_squared_error(weights: Floats, predicted: Floats, y: Floats) -> Floats:
    """The root of the mean squared error."""
    found: Floats = np.sqrt(mean(weights, np.square(predicted - y)))
    return found


def r2(weights: Floats, predicted: Floats, y: Floats) -> Floats:
    """The share of the labels' variance that is explained; NaN where they have none."""
    scale = y.std() or 1.0  # else variances of small units would be taken for rounding
    predicted, centred = (predicted - y.mean()) / scale, (y - y.mean()) / scale
    variance = mean(weights, np.square(centred)) - np.square(mean(weights, centred))
    return 1 - ratio(mean(weights, np.square(predicted - centred)), variance)


def each(metric: Callable[..., Floats], predicted: NDArray[np.generic], y: Floats) -> Sequence[Weighted]:
    """A metric of each output over the samples whose label is known: from (N, K) and NaN where one is missing."""

    def of(output: int) -> Weighted:
        known = np.flatnonzero(~np.isnan(y[:, output]))
        values, labels = predicted[known, output], y[known, output]

        def weighted(weights: Floats) -> Floats:
            if not len(known):
                return np.full(len(weights), np.nan)
            return metric(weights[:, known], values, labels)

        return weighted

    return [of(output) for output in range(y.shape[1])]


def over_outputs(metrics: Sequence[Weighted]) -> Weighted:
    """The mean of several metrics; those that are defined."""

    def averaged(weights: Floats) -> Floats:
        return _nanmean(np.stack([metric(weights) for metric in metrics], 1))

    return averaged


def at_hand(metric: Weighted, samples: int) -> float:
    """The metric of the samples as they are."""
    return float(metric(np.ones((1, samples)))[0])


def ratio(above: Floats, below: Floats) -> Floats:
    """One by the other; NaN where the other is nothing, to rounding."""
    found: Floats = np.divide(above, below, out=np.full(np.shape(below), np.nan), where=below > 1e-12)
    return found


def _counts(weights: Floats, predicted: Numbers, y: Numbers, classes: int) -> tuple[Floats, Floats, Floats]:
    """How many of each class are right, are said to be of it, and are of it: (D, C) each."""
    from scipy.sparse import csr_array

    def counted(of: Numbers, ones: NDArray[np.generic]) -> Floats:
        member = csr_array((ones.astype(np.float64), (of, np.arange(len(of)))), shape=(classes, len(of)))
        found: Floats = (member @ weights.T).T
        return found

    every = np.ones(len(y))
    return counted(y, predicted == y), counted(predicted, every), counted(y, every)


def _by_score(weights: Floats, scores: Floats, y: Numbers) -> tuple[Floats, Floats]:
    """How many positives and negatives have each of the scores, in rising order: (D, S) each."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
    sorted_weights, positive = weights[:, order], y[order] == 1
    return tuple(np.add.reduceat(sorted_weights * chosen, starts, axis=1) for chosen in (positive, ~positive))  # type: ignore[return-value]


def _over_classes(scores: Floats, present: NDArray[np.bool_]) -> Floats:
    """The mean over the classes that samples are of, or are said to be of, as torchmetrics has it."""
    found: Floats = (scores * present).sum(1) / np.maximum(present.sum(1), 1)
    return found


def _nanmean(values: Floats) -> Floats:
    known = ~np.isnan(values)
    return ratio(np.where(known, values, 0).sum(1), known.sum(1).astype(np.float64))


def _percentiles(values: Floats) -> list[float]:
    known = values[~np.isnan(values)]
    return [float(bound) for bound in np.quantile(known, [0.025, 0.975])] if len(known) else [float("nan")] * 2


def _chunks(total: int, size: int) -> list[int]:
    full, rest = divmod(total, size)
    return [size] * full + ([rest] if rest else [])
