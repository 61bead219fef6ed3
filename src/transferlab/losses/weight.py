"""Weights of transfer losses over training: pure functions of progress, a share of all steps in [0, 1)."""

from collections.abc import Callable
from math import exp
from typing import TypeAlias

Weight: TypeAlias = float | Callable[[float], float]


def ramp(progress: float, *, high: float, gamma: float) -> float:
    """`high * (2 / (1 + exp(-gamma * progress)) - 1)`: Ganin et al. 2016 (JMLR 17), section 5.2.2, gamma = 10."""
    return high * (2 / (1 + exp(-gamma * progress)) - 1)


def warmup(progress: float, *, high: float, share: float) -> float:
    """A straight line from 0 to `high` over the first `share` of training, then `high`."""
    return high if progress >= share else high * progress / share


def decay(progress: float, *, high: float) -> float:
    """A straight line from `high` at the start to 0 at the end."""
    return high * (1 - progress)
