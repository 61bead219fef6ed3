"""Rules that estimate the target's risk from source labels, each weighted by how much it looks like the target."""

from math import nan
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from transferlab.errors import unknown
from transferlab.selection.logistic import logistic
from transferlab.selection.seen import Seen, check, exact, finite

_STILL = 1e-12  # a spread of weights below this share of their mean is float64's round-off


def iwv(seen: Seen, *, measure: Literal["error", "loss"], penalty: float) -> float:
    """Minus the importance-weighted risk on held-out source labels: an estimate of the target's.

    The mean of `w(x) l(x, y)`: Sugiyama, Krauledat & Müller 2007, "Covariate Shift Adaptation by Importance Weighted
    Cross Validation" (JMLR 8). Unbiased where the domains differ in their inputs alone and `w` is the true
    `density_ratio`.

    Args:
        seen: all of it is read.
        measure: l, `error` (0 or 1) or `loss` (cross-entropy, in nats).
        penalty: see `density_ratio`.

    Returns:
        At most 0; NaN if a logit or a feature is no number.

    Raises:
        InputError: a part has no samples, there is no such measure, or the penalty is 0 or less.
    """
    found = _weighted("iwv", seen, measure, penalty)
    return nan if found is None else -float((found[0] * found[1]).mean())


def dev(seen: Seen, *, measure: Literal["error", "loss"], penalty: float) -> float:
    """Minus the importance-weighted risk with the weights as a control variate: less variance, the same mean.

    `mean(L) + eta mean(W) - eta`, `eta = -Cov(L, W) / Var(W)`, with L the weighted losses: You et al. 2019, "Towards
    Accurate Model Selection in Deep Unsupervised Domain Adaptation" (ICML), who train a network in place of the
    logistic regression here. Where all weights are equal it is `iwv`. Not bounded: an estimate may fall below 0.

    Args:
        seen: all of it is read.
        measure: the loss, `error` (0 or 1, the paper's) or `loss` (cross-entropy, in nats).
        penalty: see `density_ratio`.

    Returns:
        A number; NaN if a logit or a feature is no number.

    Raises:
        InputError: as `iwv`.
    """
    found = _weighted("dev", seen, measure, penalty)
    return nan if found is None else -controlled(found[0] * found[1], found[0])


def controlled(weighted: Tensor, weights: Tensor) -> float:
    """A mean with the control variate `weights`, whose expectation is known to be 1.

    Args:
        weighted: the losses times their weights, (N,).
        weights: (N,).
    """
    aside = weights - weights.mean()
    variance = aside.square().mean()
    if variance <= (_STILL * weights.mean()) ** 2:
        return float(weighted.mean())
    eta = -(aside * (weighted - weighted.mean())).mean() / variance
    return float(weighted.mean() + eta * weights.mean() - eta)


def density_ratio(source: Tensor, target: Tensor, of: Tensor, penalty: float) -> Tensor:
    """How much denser the target is than the source where each of some samples lies.

    By a logistic regression that tells the domains apart, `p(target|x) / p(source|x) * n_source / n_target`: Bickel,
    Brückner & Scheffer 2007, "Discriminative Learning for Differing Training and Test Distributions" (ICML).

    Args:
        source: features (n_source, F).
        target: features (n_target, F).
        of: features of the samples asked for, (N, F).
        penalty: as `logistic`'s; the higher, the nearer all ratios are to 1.

    Returns:
        (N,), 0 or more.

    Raises:
        InputError: the penalty is 0 or less.
    """
    x = torch.cat([source, target]).numpy()
    domain = np.repeat([0, 1], [len(source), len(target)])
    odds: NDArray[np.float64] = logistic(x, domain, penalty).decision_function(of.numpy())
    return torch.from_numpy(odds).exp() * len(source) / len(target)


def _weighted(rule: str, seen: Seen, measure: str, penalty: float) -> tuple[Tensor, Tensor] | None:
    """The weights and the losses of the held-out source samples, (N,) each; None if something is no number."""
    check(f"selection={rule}", "source training samples", seen.source_train)
    check(f"selection={rule}", "held-out source samples", seen.source_val)
    check(f"selection={rule}", "target inputs", seen.target)
    if measure not in ("error", "loss"):
        raise unknown("selection.score.measure", measure, ("error", "loss"))
    source, target, held = (exact(part.features) for part in (seen.source_train, seen.target, seen.source_val))
    logits, y = exact(seen.source_val.logits), seen.source_val.y.cpu().long()
    if not finite(logits, source, target, held):
        return None
    losses = cross_entropy(logits, y, reduction="none") if measure == "loss" else (logits.argmax(1) != y).double()
    return density_ratio(source, target, held, penalty), losses
