"""Deep CORAL: give the features of source and target the same covariance."""

from collections.abc import Sequence

import torch
from torch import Tensor

from transferlab.errors import InputError
from transferlab.losses.base import Step
from transferlab.losses.domains.reading import DomainLoss
from transferlab.losses.features.exact import full_precision
from transferlab.losses.weight import Weight


@full_precision
def coral(source: Tensor, target: Tensor) -> Tensor:
    """Align second moments: the squared distance of two covariance matrices, `|C_s - C_t|_F^2 / (4 F^2)`.

    Sun & Saenko 2016, "Deep CORAL: Correlation Alignment for Deep Domain Adaptation" (ECCV workshops); covariances with
    n - 1. Where there are fewer samples than features it is computed from products of samples, as
    `|C_s - C_t|^2 = |C_s|^2 + |C_t|^2 - 2 <C_s, C_t>` and `<X^T X, Y^T Y> = |X Y^T|^2`, without an F x F matrix.

    Args:
        source: vectors (n, F).
        target: vectors (m, F).

    Returns:
        A scalar.

    Raises:
        InputError: one sample of a side, which has no covariance.
    """
    n, m, size = len(source), len(target), source.shape[1]
    if min(n, m) < 2:
        raise InputError(
            f"loss 'coral' compares covariances, this batch has {n} of the source and {m} of the target: set "
            "batch_size to 2 or more"
        )
    sides = [(rows - rows.mean(0)) / (len(rows) - 1) ** 0.5 for rows in (source, target)]
    apart = by_samples if n + m < size else by_features
    return apart(*sides) / (4 * size**2)


def by_features(source: Tensor, target: Tensor) -> Tensor:
    """`|X^T X - Y^T Y|_F^2` of X (n, F) and Y (m, F), by F x F matrices."""
    return (source.T @ source - target.T @ target).square().sum()


def by_samples(source: Tensor, target: Tensor) -> Tensor:
    """The same by n x n, m x m and n x m matrices; 0 where rounding would leave less."""
    pairs = (source, source), (target, target), (source, target)
    within_s, within_t, between = ((one @ other.T).square().sum(dtype=torch.float64) for one, other in pairs)
    return (within_s + within_t - 2 * between).clamp(min=0).to(source.dtype)


class CORAL(DomainLoss):
    """`coral` of features, or of stages and then their sum.

    Args:
        weight: lambda of the paper.
        stages: whose outputs are compared; None: the features alone.
    """

    def __init__(self, weight: Weight, stages: Sequence[str | int] | None) -> None:
        super().__init__("coral", weight, stages)

    def forward(self, step: Step) -> Tensor:
        """The sum over stages."""
        return torch.stack([coral(*pair) for pair in self.compared(step)]).sum()
