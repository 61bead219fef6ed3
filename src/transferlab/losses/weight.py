"""Weights of transfer losses over training: pure functions of progress, a share of all steps in [0, 1)."""

from collections.abc import Callable
from math import exp
from typing import TypeAlias

from transferlab.errors import InputError

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


def delayed(progress: float, *, high: float, start: float, end: float) -> float:
    """0 over the first share `start` of training, a straight line to `high` at the share `end`, then `high`.

    Lee 2013, "Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method for Deep Neural Networks" (ICML
    workshop), equation 16, there over T1 = 100 and T2 = 600 with alpha_f = 3 for `high`.

    Raises:
        InputError: shares that are none, or not in their order.
    """
    if not 0 <= start <= end <= 1:
        raise InputError(f"a delayed weight rises from start={start} to end={end}: shares in [0, 1] in their order")
    if progress < start:
        return 0.0
    return high if progress >= end else high * (progress - start) / (end - start)
