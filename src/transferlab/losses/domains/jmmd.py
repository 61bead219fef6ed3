"""Joint maximum mean discrepancy: bring the joint distributions of features and predictions together."""

from collections.abc import Sequence

import torch
from torch import Tensor

from transferlab.errors import unknown
from transferlab.losses.base import Setting, Step
from transferlab.losses.domains.classifiers import classes
from transferlab.losses.domains.kernels import ESTIMATORS, Bandwidth, Estimator, Gaussians, mean_discrepancy
from transferlab.losses.domains.reading import DomainLoss
from transferlab.losses.features.exact import full_precision
from transferlab.losses.weight import Weight

_KEY = "strategy.losses.jmmd"
_shares = full_precision(torch.softmax)


def jmmd(layers: Sequence[tuple[Tensor, Tensor]], kernels: Sequence[Gaussians], estimator: Estimator) -> Tensor:
    """Bring two joint distributions together: the squared distance of mean embeddings under a product of kernels.

    Long et al. 2017, "Deep Transfer Learning with Joint Adaptation Networks" (ICML): `mk_mmd` with the kernel
    `prod_l k_l(x_l, y_l)` of the outputs of several layers l, among them the predictions. The estimators are those of
    `mean_discrepancy`; the paper trains by the linear one.

    Args:
        layers: of each the source's vectors (n, F) and the target's (m, F); F may differ between layers.
        kernels: of each layer, a sum of Gaussian kernels.
        estimator: `quadratic` (biased, never negative), `unbiased` or `linear`.

    Returns:
        A scalar.

    Raises:
        InputError: one sample of a side, where `unbiased` and `linear` need two; or samples that are alike in a layer,
            so that the width of its kernels is 0.
    """
    return mean_discrepancy(layers, kernels, estimator)


class JMMD(DomainLoss):
    """`jmmd` of features, or of stages, and the softmax of the outputs.

    Args:
        weight: lambda of the paper.
        stages: whose outputs are compared beside the predictions; None: the features alone.
        kernels: how many for each stage.
        factor: of the width of a kernel beside the next.
        bandwidth: the middle width: `median` or `mean` of the squared distances of the batch, or a number.
        output_kernels: how many for the predictions.
        output_bandwidth: as `bandwidth`, for the predictions.
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
        output_kernels: int,
        output_bandwidth: Bandwidth,
        estimator: Estimator,
    ) -> None:
        super().__init__("jmmd", weight, stages)
        if estimator not in ESTIMATORS:
            raise unknown(f"{_KEY}.estimator", estimator, ESTIMATORS)
        self.kernel = Gaussians(f"{_KEY}.", kernels, factor, bandwidth)
        self.of_outputs = Gaussians(f"{_KEY}.output_", output_kernels, factor, output_bandwidth)
        self.estimator = estimator

    def prepare(self, setting: Setting) -> None:
        """Find the stages, and see that there are predictions.

        Raises:
            InputError: the source has no data, there is no such stage, or a sample has not one class out of several.
        """
        super().prepare(setting)
        classes(setting, "jmmd")

    def forward(self, step: Step) -> Tensor:
        """Of the step's two batches."""
        layers = self.compared(step)
        source, target = (_shares(side.outputs, 1) for side in self.sides(step))
        return jmmd([*layers, (source, target)], [self.kernel] * len(layers) + [self.of_outputs], self.estimator)
