"""WiSE-FT: weights between those before the backbone trained and those after."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from transferlab.errors import InputError


@dataclass(frozen=True)
class Interpolation:
    """Weight-space ensembling of Wortsman et al. 2022, "Robust fine-tuning of zero-shot models" (CVPR), section 3.

    `(1 - alpha) w_0 + alpha w_1` with w_0 the weights of backbone and head before the backbone first trained, and w_1
    those of the selected epoch. With a new head, w_0 says something only if the head was trained before the backbone,
    as under probe-then-tune, or did not start at random.

    Attributes:
        alpha: whose weights are tested and kept, in [0, 1]; None: the one that validation likes best.
        curve: further alphas that are validated and tested, for the record.
    """

    alpha: float | None
    curve: Sequence[float]

    def __post_init__(self) -> None:
        for alpha in (*self.curve, *(() if self.alpha is None else (self.alpha,))):
            if not 0 <= alpha <= 1:
                raise InputError(f"strategy.interpolation: alpha={alpha} is not in [0, 1]")
        if self.alpha is None and not self.curve:
            raise InputError(
                "strategy.interpolation.alpha=null chooses from strategy.interpolation.curve, which is empty"
            )

    @property
    def alphas(self) -> list[float]:
        """All that are looked at, in order."""
        return sorted({*self.curve, *(() if self.alpha is None else (self.alpha,))})


@torch.no_grad()
def between(before: Mapping[str, Tensor], after: Mapping[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """`(1 - alpha) before + alpha after` of every floating-point tensor; whole numbers are those after."""
    return {
        key: torch.lerp(before[key].to(value), value, alpha) if value.is_floating_point() else value
        for key, value in after.items()
    }
