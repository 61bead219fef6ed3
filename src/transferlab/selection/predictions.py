"""Rules that look at predictions alone: right ones of the source, confident and diverse ones of the target."""

from math import nan, sqrt
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from transferlab.errors import unknown
from transferlab.selection.seen import Seen, check, exact, finite


def source_val(seen: Seen, *, measure: Literal["accuracy", "loss"]) -> float:
    """The score on held-out source labels: right for the target as far as the domains are alike.

    Args:
        seen: its `source_val` is read.
        measure: `accuracy`; or `loss`, minus the mean cross-entropy, in nats.

    Returns:
        A share in [0, 1], or a number of at most 0; NaN if a logit is no number.

    Raises:
        InputError: no source labels are held out, or there is no such measure.
    """
    check("selection=source_val", "held-out source samples", seen.source_val)
    if measure not in ("accuracy", "loss"):
        raise unknown("selection.score.measure", measure, ("accuracy", "loss"))
    logits, y = exact(seen.source_val.logits), seen.source_val.y.cpu().long()
    if not finite(logits):
        return nan
    return float((logits.argmax(1) == y).double().mean() if measure == "accuracy" else -cross_entropy(logits, y))


def entropy(seen: Seen) -> float:
    """Minus the mean entropy of the target's predictions: how sure the net is of the target.

    Morerio, Cavazza & Murino 2018, "Minimal-Entropy Correlation Alignment for Unsupervised Deep Domain Adaptation"
    (ICLR). A net that calls everything one class scores highest.

    Args:
        seen: its `target` is read.

    Returns:
        Between -ln C and 0, in nats; NaN if a logit is no number.

    Raises:
        InputError: there are no target inputs.
    """
    check("selection=entropy", "target inputs", seen.target)
    p = _probabilities(seen)
    return -float(_entropies(p).mean()) if finite(p) else nan


def infomax(seen: Seen) -> float:
    """The mutual information of the target's inputs and their predictions: sure of each, and not of one class always.

    `H(mean p) - mean H(p)`. Shi & Sha 2012, "Information-Theoretical Learning of Discriminative Clusters for
    Unsupervised Domain Adaptation" (ICML).

    Args:
        seen: its `target` is read.

    Returns:
        Between 0 and ln C, in nats, to float64's round-off; NaN if a logit is no number.

    Raises:
        InputError: there are no target inputs.
    """
    check("selection=infomax", "target inputs", seen.target)
    p = _probabilities(seen)
    return float(_entropies(p.mean(0)) - _entropies(p).mean()) if finite(p) else nan


def bnm(seen: Seen) -> float:
    """The nuclear norm of the target's predictions (N, C) over its bound `sqrt(N min(N, C))`: sure and diverse.

    Cui et al. 2020, "Towards Discriminability and Diversity: Batch Nuclear-norm Maximization under Label Insufficient
    Situations" (CVPR), maximise the norm of a batch; Musgrave, Belongie & Lim 2022, "Three New Validators and a
    Large-Scale Benchmark Ranking for Unsupervised Domain Adaptation" (arXiv:2208.07360), choose by that of the whole
    set. Neither divides by the bound; in a run it is constant, so that the epoch chosen is the same.

    Args:
        seen: its `target` is read.

    Returns:
        At most 1, where all classes are predicted equally often and with certainty; of one class alone
        `1 / sqrt(min(N, C))`. NaN if a logit is no number.

    Raises:
        InputError: there are no target inputs.
    """
    check("selection=bnm", "target inputs", seen.target)
    p = _probabilities(seen)
    return float(torch.linalg.svdvals(p).sum()) / sqrt(len(p) * min(p.shape)) if finite(p) else nan


def _probabilities(seen: Seen) -> Tensor:
    """Of the target's classes, (N, C); NaN where a logit is no number."""
    logits = exact(seen.target.logits)
    return torch.where(logits.isfinite(), logits, nan).softmax(1)


def _entropies(p: Tensor) -> Tensor:
    """Of distributions (..., C), in nats."""
    entropies: Tensor = torch.special.entr(p).sum(-1)
    return entropies
