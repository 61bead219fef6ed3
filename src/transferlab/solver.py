"""A linear head that is solved for and not trained: regularised logistic regression, or least squares."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from transferlab.errors import InputError


@dataclass(frozen=True)
class LBFGS:
    """The settings of `conf/strategy/solver/lbfgs.yaml`.

    What is minimised over a linear head W, b on features x, by L-BFGS with a strong Wolfe line search (Liu & Nocedal
    1989, "On the limited memory BFGS method for large scale optimization", Mathematical Programming 45), in float64, is

        mean over the training samples of the task's loss(W x + b, y)  +  penalty / 2 * ||W||^2

    in regression with targets that are standardised. Of several penalties, from the largest to the smallest, each
    starts from the solution of the one before; validation chooses, as it does among epochs. So Kornblith, Shlens &
    Le 2019, "Do Better ImageNet Models Transfer Better?" (CVPR), and those who evaluate self-supervised features,
    report linear probes.

    Attributes:
        penalties: at least 0, of which one is chosen.
        iterations: for each, at most.
        tolerance: of the largest component of the gradient, at which the solution counts as found.

    Raises:
        InputError: no penalty, or a number out of its range.
    """

    penalties: Sequence[float]
    iterations: int
    tolerance: float

    reads: ClassVar[frozenset[str]] = frozenset()
    shares_classes: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.penalties or min(self.penalties) < 0:
            raise InputError(f"strategy.solver.penalties={list(self.penalties)}: at least one, none below 0")
        if self.iterations < 1 or self.tolerance <= 0:
            raise InputError("strategy.solver: iterations is at least 1, tolerance above 0")

    @property
    def path(self) -> list[float]:
        """The penalties, from the largest to the smallest."""
        return sorted(map(float, self.penalties), reverse=True)

    def solve(
        self,
        head: nn.Module,
        weight: Tensor,
        loss: Callable[[Any, Tensor], Tensor],
        x: Tensor,
        y: Tensor,
        penalty: float,
    ) -> int:
        """Bring a head, in place, to the optimum.

        Args:
            head: from which it starts, float64.
            weight: its W.
            loss: of outputs (N, C) and labels, the mean over samples.
            x: features (N, F), float64.
            y: labels (N, ...).
            penalty: of the squared weights; the bias has none.

        Returns:
            How often loss and gradient were computed.
        """
        optimizer = torch.optim.LBFGS(
            head.parameters(),
            max_iter=self.iterations,
            max_eval=self.iterations * 2,
            tolerance_grad=self.tolerance,
            tolerance_change=0.0,
            history_size=20,
            line_search_fn="strong_wolfe",
        )
        asked = 0

        def closure() -> Tensor:
            nonlocal asked
            asked += 1
            optimizer.zero_grad()
            total = loss(head(x), y) + penalty / 2 * weight.square().sum()
            total.backward()  # type: ignore[no-untyped-call]
            return total

        with torch.enable_grad():
            optimizer.step(closure)  # type: ignore[no-untyped-call]
        return asked
