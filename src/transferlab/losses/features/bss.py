"""Batch spectral shrinkage: weaken the directions in which a batch's features hardly vary."""

import torch
from torch import Tensor

from transferlab.errors import InputError
from transferlab.losses.base import Setting, Step, TransferLoss
from transferlab.losses.features.exact import full_precision
from transferlab.losses.weight import Weight


@full_precision
def bss(features: Tensor, k: int) -> Tensor:
    """Shrink the smallest singular values of a batch's features: the sum of the squares of the k smallest.

    Chen et al. 2019, "Catastrophic Forgetting Meets Negative Transfer: Batch Spectral Shrinkage for Safe Transfer
    Learning" (NeurIPS), `L_bss(F) = eta * sum_{i=1}^{k} sigma_{-i}^2` with the weight eta. A batch of rank r, as one
    of equal samples, has min(B, F) - r singular values that are 0, and these are the smallest.

    The left singular vectors V of the smallest values are those of the Gram matrix, whose size is min(B, F), taken in
    float64 because its condition is the square of the features'; the value is then `|V^T F|^2`. That is never
    negative, and its gradient `2 V V^T F` is the exact one without any difference of singular values in a denominator.

    Args:
        features: of B samples (B, F), finite; others give NaN.
        k: how many, from 1 to min(B, F).

    Returns:
        A scalar.

    Raises:
        InputError: fewer singular values than k.
    """
    if not 1 <= k <= min(features.shape):
        raise InputError(
            f"strategy.losses.bss.k={k}: {features.shape[0]} samples of {features.shape[1]} features have "
            f"{min(features.shape)} singular values: take at most that many, or a batch_size with which the last batch "
            "of an epoch has more"
        )
    rows = features if features.shape[0] <= features.shape[1] else features.mT
    with torch.no_grad():
        exact = rows.double()
        gram = exact @ exact.mT
        if not gram.isfinite().all():  # what diverged has no spectrum; the run then ends as such
            return torch.full_like(rows.sum(), torch.nan)
        smallest = torch.linalg.eigh(gram).eigenvectors[:, :k].to(rows)
    shrunk: Tensor = smallest.mT @ rows
    return shrunk.square().sum()


class BSS(TransferLoss):
    """`bss` of the target's features.

    Args:
        weight: eta.
        k: how many singular values are shrunk.

    Raises:
        InputError: k below 1.
    """

    def __init__(self, weight: Weight, k: int) -> None:
        super().__init__(weight)
        if k < 1:
            raise InputError(f"strategy.losses.bss.k={k}: at least 1")
        self.k = k

    def prepare(self, setting: Setting) -> None:
        """See that the features are vectors, long enough.

        Raises:
            InputError: they are maps or sequences, or shorter than k.
        """
        if setting.task.dense:
            raise InputError("loss 'bss' takes one vector a sample: choose another task, such as task=classification")
        if setting.backbone.features < self.k:
            raise InputError(
                f"strategy.losses.bss.k={self.k}: backbone '{setting.backbone.name}' has "
                f"{setting.backbone.features} features: take at most that many"
            )

    def forward(self, step: Step) -> Tensor:
        """The loss of the target's batch.

        Raises:
            InputError: a training batch of fewer than k samples; outside training k is then as many.
        """
        features = step.domain("target", "bss").features
        return bss(features, self.k if self.training else min(self.k, *features.shape))
