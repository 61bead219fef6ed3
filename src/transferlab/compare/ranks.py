"""Ranks over many tasks: Friedman's test, Nemenyi's critical difference (Demsar 2006, JMLR 7)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from transferlab.compare.statistics import CONFIDENCE

FEWEST_TASKS = 5
FEWEST_STRATEGIES = 3
# Below, neither chi-square nor F is near: at five tasks and four strategies F rejects 6.6 % of true nulls, not 5 %.
_FEWEST_FOR_CHI2 = 10
_SHUFFLES = 9_999


@dataclass(frozen=True)
class Ranks:
    """What ranks say.

    Attributes:
        mean: mean rank of each strategy, best (1 is best) first.
        tasks: over how many.
        chi2: Friedman's statistic, with ties corrected for.
        p: its p-value: chi-square with k - 1 degrees of freedom from ten tasks on, below the share of 9,999 random
            orders within each task that give as large a statistic.
        f: Iman and Davenport's statistic, less conservative (Demsar, section 3.2.2); NaN below ten tasks and where all
            tasks rank alike.
        f_p: its p-value, F with k - 1 and (k - 1)(N - 1) degrees of freedom; NaN likewise.
        critical_difference: mean ranks further apart than this differ (Nemenyi).
        cliques: largest sets of strategies, none of which surely differs from another; those of one are left out.
    """

    mean: pd.Series
    tasks: int
    chi2: float
    p: float
    f: float
    f_p: float
    critical_difference: float
    cliques: tuple[tuple[str, ...], ...]


def ranks(scores: pd.DataFrame, confidence: float = CONFIDENCE) -> Ranks | None:
    """Rank the strategies within each task and test whether their mean ranks differ.

    Args:
        scores: one row a task, one column a strategy, higher is better, none missing.
        confidence: of the critical difference, in (0, 1).

    Returns:
        None for fewer than five tasks or three strategies: then there is nothing that ranks could say.
    """
    tasks, strategies = scores.shape
    if tasks < FEWEST_TASKS or strategies < FEWEST_STRATEGIES:
        return None
    ranked = pd.DataFrame(stats.rankdata(-scores.to_numpy(), axis=1), columns=scores.columns)
    mean = ranked.mean().sort_values(kind="stable")
    chi2, p = _friedman(scores)
    f = f_p = float("nan")
    most = tasks * (strategies - 1)  # all tasks rank alike, and F would be infinite
    if tasks < _FEWEST_FOR_CHI2:
        p = _shuffled_p(ranked.to_numpy())
    elif chi2 < most * (1 - 1e-12):
        f = (tasks - 1) * chi2 / (most - chi2)
        f_p = float(stats.f.sf(f, strategies - 1, (strategies - 1) * (tasks - 1)))
    difference = critical_difference(strategies, tasks, confidence)
    return Ranks(mean, tasks, chi2, p, float(f), f_p, difference, _cliques(mean, difference))


def critical_difference(strategies: int, tasks: int, confidence: float = CONFIDENCE) -> float:
    """Nemenyi's: q sqrt(k (k + 1) / 6N), q the studentised range quantile over sqrt 2 (Demsar 2006, section 3.2.2)."""
    q = float(stats.studentized_range.ppf(confidence, strategies, np.inf)) / np.sqrt(2)
    return float(q * np.sqrt(strategies * (strategies + 1) / (6 * tasks)))


def _friedman(scores: pd.DataFrame) -> tuple[float, float]:
    if (scores.nunique(axis=1) == 1).all():
        return 0.0, 1.0  # everything ties everywhere, where the statistic is 0 / 0
    chi2, p = stats.friedmanchisquare(*(scores[name] for name in scores.columns))
    return float(chi2), float(p)


def _shuffled_p(ranked: NDArray[np.float64]) -> float:
    """How often random orders within each task spread the sums of ranks as far, (tasks, strategies)."""
    rng = np.random.default_rng(len(ranked))
    spread = ranked.sum(0).var()
    drawn = rng.permuted(np.broadcast_to(ranked, (_SHUFFLES, *ranked.shape)), axis=2)
    return float((np.sum(drawn.sum(1).var(1) >= spread * (1 - 1e-9)) + 1) / (_SHUFFLES + 1))


def _cliques(mean: pd.Series, difference: float) -> tuple[tuple[str, ...], ...]:
    names: Sequence[str] = [str(name) for name in mean.index]
    values = mean.to_numpy()
    found: list[tuple[int, int]] = []
    for first in range(len(names)):
        last = int(np.searchsorted(values, values[first] + difference, side="right")) - 1
        if last > first and (not found or last > found[-1][1]):
            found.append((first, last))
    return tuple(tuple(names[first : last + 1]) for first, last in found)
