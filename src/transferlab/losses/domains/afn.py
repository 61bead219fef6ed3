"""Adaptive feature norm: make the features of source and target long."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from transferlab.errors import InputError, unknown
from transferlab.losses.base import Step
from transferlab.losses.domains.reading import DomainLoss
from transferlab.losses.features.exact import full_precision
from transferlab.losses.weight import Weight

_KEY = "strategy.losses.afn"
_FORMS = ("stepwise", "hard")


@full_precision
def stepwise(features: Tensor, before: Tensor, step: float) -> Tensor:
    """Make each feature vector longer by a step: the mean of `(|f_0| + r - |f|)^2`.

    Xu et al. 2019, "Larger Norm More Transferable: An Adaptive Feature Norm Approach for Unsupervised Domain
    Adaptation" (ICCV), the stepwise form (SAFN). `f_0` are the features under the weights before the step: the same
    numbers, without gradient, so the value is always `r^2` and the gradient of each length `-2 r / B`.

    Args:
        features: f, (B, F).
        before: f_0, (B, F).
        step: r, in units of the features.

    Returns:
        A scalar.
    """
    return (lengths(before) + step - lengths(features)).square().mean()


@full_precision
def hard(features: Tensor, radius: float) -> Tensor:
    """Draw the mean length of feature vectors to a radius: `(mean |f| - R)^2`, the hard form (HAFN) of the same paper.

    Args:
        features: f, (B, F).
        radius: R, in units of the features.

    Returns:
        A scalar.
    """
    return (lengths(features).mean() - radius).square()


def lengths(features: Tensor) -> Tensor:
    """Euclidean norms (B,) of (B, F)."""
    found: Tensor = torch.linalg.vector_norm(features, dim=1)
    return found


class AFN(DomainLoss):
    """`stepwise` or `hard`, of the source's features plus of the target's.

    Args:
        weight: lambda of the paper.
        stages: whose outputs grow; None: the features alone.
        form: `stepwise` or `hard`.
        step: r of the stepwise form.
        radius: R of the hard form.

    Raises:
        InputError: another form, or a length that is not above 0.
    """

    def __init__(
        self,
        weight: Weight,
        stages: Sequence[str | int] | None,
        form: Literal["stepwise", "hard"],
        step: float,
        radius: float,
    ) -> None:
        super().__init__("afn", weight, stages)
        if form not in _FORMS:
            raise unknown(f"{_KEY}.form", form, _FORMS)
        for name, length in {"step": step, "radius": radius}.items():
            if length <= 0:
                raise InputError(f"{_KEY}.{name}={length}: a number above 0")
        self.form, self.step, self.radius = form, step, radius

    def forward(self, step: Step) -> Tensor:
        """The sum over both sides, and over stages."""
        return torch.stack([self._of(side) for pair in self.compared(step) for side in pair]).sum()

    def _of(self, features: Tensor) -> Tensor:
        if self.form == "hard":
            return hard(features, self.radius)
        return stepwise(features, features.detach(), self.step)
