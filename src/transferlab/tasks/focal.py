"""Focal loss: samples that are right already count less."""

import torch
from torch import Tensor
from torch.nn import functional as F

from transferlab.errors import InputError


def focal(logits: Tensor, shares: Tensor, weights: Tensor | None, gamma: float) -> Tensor:
    """Cross-entropy of each sample, in which a class of probability p counts (1 - p)^gamma times.

    `-sum_c alpha_c q_c (1 - p_c)^gamma log p_c` with p the softmax: for one class t a sample this is
    `-alpha_t (1 - p_t)^gamma log p_t`, Lin et al. 2017, "Focal Loss for Dense Object Detection" (ICCV), equation 5.

    Args:
        logits: (B, C).
        shares: q, of the classes in each label, (B, C), rows that sum to 1.
        weights: alpha, of each class, (C,); None: all 1.
        gamma: 0 or more; 0 is cross-entropy, the paper has 2.

    Returns:
        (B,).
    """
    log_p = F.log_softmax(logits, 1)
    # of a probability that is 1 in this precision the power's slope would be infinite where gamma < 1
    others = (-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).tiny)
    terms = shares * others**gamma * log_p
    return -(terms if weights is None else terms * weights).sum(1)


def binary_focal(logits: Tensor, positive: Tensor, weight: Tensor | None, gamma: float) -> Tensor:
    """Binary cross-entropy of each sample, in which an answer of probability p counts (1 - p)^gamma times.

    `-w q (1 - p)^gamma log p - (1 - q) p^gamma log (1 - p)` with p the sigmoid: equation 5 of Lin et al. 2017, as in
    `focal`, divided by 1 - alpha, with `w = alpha / (1 - alpha)`; their alpha of 0.25 is w = 1 / 3.

    Args:
        logits: (B,).
        positive: q, the share of the positive class in each label, in [0, 1], (B,).
        weight: w, of a positive beside a negative; None: 1.
        gamma: 0 or more; 0 is binary cross-entropy, the paper has 2.

    Returns:
        (B,).
    """
    log_p, log_not = F.logsigmoid(logits), F.logsigmoid(-logits)
    there, absent = positive * (gamma * log_not).exp() * log_p, (1 - positive) * (gamma * log_p).exp() * log_not
    return -(there if weight is None else weight * there) - absent


def check_gamma(gamma: float) -> None:
    """See that it is a number of 0 or more.

    Raises:
        InputError: it is not.
    """
    if not gamma >= 0:
        raise InputError(f"task.focal={gamma}: gamma of the focal loss, 0 or more; 0 for cross-entropy")
