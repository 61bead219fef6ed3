"""DeepJDOT: bring each target sample to source samples with like features, and its prediction to their labels."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from transferlab.errors import InputError
from transferlab.extras import library
from transferlab.losses.base import Setting, Step
from transferlab.losses.domains.classifiers import check_unmixed, classes
from transferlab.losses.domains.reading import DomainLoss
from transferlab.losses.features.exact import full_precision
from transferlab.losses.weight import Weight

_KEY = "strategy.losses.deepjdot"


@full_precision
def joint_costs(source: Tensor, y: Tensor, target: Tensor, logits: Tensor, alpha: float, label_weight: float) -> Tensor:
    """What it costs to take each source sample for each target sample: `alpha |f_s - f_t|^2 + lambda_t CE(y_s, p_t)`.

    Damodaran et al. 2018, "DeepJDOT: Deep Joint Distribution Optimal Transport for Unsupervised Domain Adaptation"
    (ECCV).

    Args:
        source: feature vectors (n, F).
        y: classes of the source (n,).
        target: feature vectors (m, F).
        logits: of the target (m, C).
        alpha: per squared feature.
        label_weight: lambda_t, per nat.

    Returns:
        (n, m), 0 or more.
    """
    middle = source.detach().mean(0)  # an offset that all share would cost digits
    one, other = source - middle, target - middle
    lengths = one.square().sum(1)[:, None] + other.square().sum(1)
    apart = (lengths - 2 * one @ other.T).clamp(min=0)
    return alpha * apart - label_weight * logits.log_softmax(1).T[y]


@torch.no_grad()
def transport(costs: Tensor) -> Tensor:
    """The plan with the least cost between samples that all count alike, by POT's exact solver on the CPU.

    Args:
        costs: (n, m), finite.

    Returns:
        (n, m), 0 or more; rows sum to 1 / n, columns to 1 / m.
    """
    plan = solver().emd([], [], costs.double().cpu().numpy())
    return torch.from_numpy(plan).to(costs)


def deepjdot(costs: Tensor) -> Tensor:
    """Bring joint distributions together: `sum_ij gamma_ij c_ij`, with gamma the plan of least cost, held fixed.

    Damodaran et al. 2018, the part of its objective beside the source's own loss; plan and net take turns, one step
    each.

    Args:
        costs: c of `joint_costs` (n, m).

    Returns:
        A scalar; NaN if a cost is not finite.
    """
    if not costs.isfinite().all():  # what diverged has no plan; the run then ends as such
        return costs.sum() * torch.nan
    return (transport(costs) * costs).sum()


def solver() -> Any:
    """POT.

    Raises:
        InputError: it is not installed.
    """
    return library("ot", "loss 'deepjdot' solves by POT", "adaptation")


class DeepJDOT(DomainLoss):
    """`deepjdot` of features, or of stages and then their sum, and the target's predictions.

    Args:
        weight: of the term beside the source's task loss.
        stages: whose outputs are compared; None: the features alone.
        alpha: of the squared distance of features.
        label_weight: lambda_t, of the cross-entropy of the source's labels and the target's predictions.

    Raises:
        InputError: a factor below 0, or both are 0.
    """

    def __init__(self, weight: Weight, stages: Sequence[str | int] | None, alpha: float, label_weight: float) -> None:
        super().__init__("deepjdot", weight, stages)
        if min(alpha, label_weight) < 0 or alpha == label_weight == 0:
            raise InputError(f"{_KEY}.alpha={alpha} label_weight={label_weight}: 0 or more, and one of them above 0")
        self.alpha, self.label_weight = alpha, label_weight

    def prepare(self, setting: Setting) -> None:
        """Find the stages, and see that there are predictions and a solver.

        Raises:
            InputError: the source has no data, there is no such stage, a sample has not one class out of several, or
                POT is not installed.
        """
        super().prepare(setting)
        classes(setting, "deepjdot")
        solver()

    def forward(self, step: Step) -> Tensor:
        """The sum over stages, each with a plan of its own."""
        source, target = self.sides(step)
        check_unmixed("deepjdot", source.y)
        terms = [
            deepjdot(joint_costs(one, source.y, other, target.outputs, self.alpha, self.label_weight))
            for one, other in self.compared(step)
        ]
        return torch.stack(terms).sum()
