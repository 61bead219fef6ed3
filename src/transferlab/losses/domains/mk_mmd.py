"""Multi-kernel maximum mean discrepancy: bring the distributions of source and target features together."""

from collections.abc import Sequence

import torch
from torch import Tensor

from transferlab.errors import unknown
from transferlab.losses.base import Step
from transferlab.losses.domains.kernels import ESTIMATORS, Bandwidth, Estimator, Gaussians, mean_discrepancy
from transferlab.losses.domains.reading import DomainLoss
from transferlab.losses.weight import Weight

_KEY = "strategy.losses.mk_mmd"


def mk_mmd(source: Tensor, target: Tensor, kernel: Gaussians, estimator: Estimator) -> Tensor:
    """Bring two distributions together: the squared distance of their mean embeddings under a sum of Gaussian kernels.

    Long et al. 2015, "Learning Transferable Features with Deep Adaptation Networks" (ICML), which learns the weight of
    each kernel; here each counts 1, as in the authors' later code. The estimators are those of `mean_discrepancy`; the
    paper trains by the linear one.

    Args:
        source: vectors (n, F).
        target: vectors (m, F).
        kernel: sum of Gaussian kernels.
        estimator: `quadratic` (biased, never negative), `unbiased` or `linear`.

    Returns:
        A scalar.

    Raises:
        InputError: one sample of a side, where `unbiased` and `linear` need two; or samples that are alike, so that the
            width of the kernels is 0.
    """
    return mean_discrepancy([(source, target)], [kernel], estimator)


class MKMMD(DomainLoss):
    """`mk_mmd` of features, or of stages and then their sum.

    Args:
        weight: lambda of the paper.
        stages: whose outputs are compared; None: the features alone.
        kernels: how many.
        factor: of the width of a kernel beside the next.
        bandwidth: the middle width: `median` or `mean` of the squared distances of the batch, or a number.
        estimator: `quadratic`, `unbiased` or `linear`.

    Raises:
        InputError: another estimator, or kernels that are none.
    """

    def __init__(
        self,
        weight: Weight,
        stages: Sequence[str | int] | None,
        kernels: int,
        factor: float,
        bandwidth: Bandwidth,
        estimator: Estimator,
    ) -> None:
        super().__init__("mk_mmd", weight, stages)
        if estimator not in ESTIMATORS:
            raise unknown(f"{_KEY}.estimator", estimator, ESTIMATORS)
        self.kernel, self.estimator = Gaussians(f"{_KEY}.", kernels, factor, bandwidth), estimator

    def forward(self, step: Step) -> Tensor:
        """The sum over stages."""
        terms = [mk_mmd(*pair, self.kernel, self.estimator) for pair in self.compared(step)]
        return torch.stack(terms).sum()
