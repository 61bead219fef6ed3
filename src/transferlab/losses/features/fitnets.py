"""Hints: have a stage say, through a regressor, what a teacher's stage says."""

from collections.abc import Sequence
from typing import Any, cast

from torch import Tensor, nn

from transferlab.losses.base import Setting, Step, TransferLoss
from transferlab.losses.features.exact import full_precision
from transferlab.losses.features.pairs import Pairs, aligned, masked_mean, plain
from transferlab.losses.features.reading import readable
from transferlab.losses.weight import Weight


@full_precision
def hint(guess: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Bring what a regressor makes of a student's activations to a teacher's: their mean squared distance.

    Romero et al. 2015, "FitNets: Hints for Thin Deep Nets" (ICLR), equation 3, `|u_h(x) - r(v_g(x))|^2 / 2`; here a
    mean over samples, positions and features in place of half the sum.

    Args:
        guess: r(v_g), the student's activations after the regressor (B, P, F).
        teacher: u_h (B, P, F).
        mask: which positions are real (B, P).

    Returns:
        A scalar.
    """
    return masked_mean((guess - teacher).square().mean(2), mask)


class FitNets(TransferLoss):
    """`hint` at pairs of stages, each with a linear regressor of its own at every position, i.e. a 1x1 convolution.

    Of maps of two sizes the larger are averaged over the cells of the smaller grid.

    Args:
        weight: of the term beside the task loss.
        stages: that are guided; None: the one in the middle of those with parameters.
        teacher_stages: that give the hints, one each; None: those of the same names.
    """

    asks = "each step"

    def __init__(
        self, weight: Weight, stages: Sequence[str | int] | None, teacher_stages: Sequence[str | int] | None
    ) -> None:
        super().__init__(weight)
        self._stages, self._teacher_stages = stages, teacher_stages
        self._pairs: Pairs
        self.regressors = nn.ModuleDict()

    def prepare(self, setting: Setting) -> None:
        """Choose the stages and build a regressor for each pair.

        Raises:
            InputError: there is no teacher, or stages that do not fit.
        """
        stages = readable(self._stages, setting.backbone, setting.example, "strategy.losses.fitnets.stages")
        if self._stages is None:
            stages = (stages[len(stages) // 2],)
        self._pairs = Pairs.of(setting, "fitnets", stages, self._teacher_stages)
        self.activations, self.taught = stages, self._pairs.taught
        for name, examples in self._pairs.examples(setting).items():
            fitting = [self._aligned(setting.backbone, name, *pair) for pair in examples]
            self.regressors[name] = nn.ModuleList(nn.Linear(mine.shape[2], its.shape[2]) for mine, its, _ in fitting)

    def forward(self, step: Step) -> Tensor:
        """The sum over pairs of stages, of the target's batch."""

        def formula(name: str, number: int, mine: Any, its: Any) -> Tensor:
            activations, wanted, mask = self._aligned(step.backbone, name, mine, its)
            return hint(cast(Any, self.regressors[name])[number](activations), wanted, mask)

        return self._pairs.summed(step, "fitnets", formula)

    def _aligned(self, own: Any, name: str, mine: Any, its: Any) -> tuple[Tensor, Tensor, Tensor]:
        return aligned(plain(own, mine), plain(self._pairs.nets[name], its), "fitnets")
