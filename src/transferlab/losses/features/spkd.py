"""Similarity-preserving distillation: samples that are alike to a teacher stay alike."""

from collections.abc import Sequence

from torch import Tensor

from transferlab.errors import InputError
from transferlab.losses.base import Setting, Step, TransferLoss
from transferlab.losses.features.exact import full_precision, unit
from transferlab.losses.features.pairs import Pairs
from transferlab.losses.features.reading import readable
from transferlab.losses.weight import Weight
from transferlab.values import flat


@full_precision
def spkd(student: Tensor, teacher: Tensor) -> Tensor:
    """Bring the similarities among a batch's samples to a teacher's: `|G_T - G_S|_F^2 / B^2`.

    Tung & Mori 2019, "Similarity-Preserving Knowledge Distillation" (ICCV), equations 2 to 4: `G = Q Q^T` of one row of
    activations a sample, each row of G divided by its length. A sample without any activation is like no other: its
    row is 0.

    Args:
        student: Q_S (B, D), B of 2 or more.
        teacher: Q_T (B, E).

    Returns:
        A scalar, from 0 to 4 / B.

    Raises:
        InputError: one sample, which is always like itself.
    """
    if len(student) < 2:
        raise InputError("loss 'spkd' compares samples with one another, this batch has one: set batch_size=2 or more")
    own, other = unit(student @ student.mT), unit(teacher @ teacher.mT)
    return (own - other).square().sum() / len(own) ** 2


class SPKD(TransferLoss):
    """`spkd` at pairs of stages, of whatever shapes; of a sequence, its mean over real steps.

    Args:
        weight: gamma of the paper's equation 5.
        stages: of the net in training; None: the last one with parameters.
        teacher_stages: one for each; None: those of the same names.
    """

    asks = "each step"

    def __init__(
        self, weight: Weight, stages: Sequence[str | int] | None, teacher_stages: Sequence[str | int] | None
    ) -> None:
        super().__init__(weight)
        self._stages, self._teacher_stages = stages, teacher_stages
        self._pairs: Pairs

    def prepare(self, setting: Setting) -> None:
        """Choose the stages.

        Raises:
            InputError: there is no teacher, or one without such stages.
        """
        stages = readable(self._stages, setting.backbone, setting.example, "strategy.losses.spkd.stages")
        if self._stages is None:
            stages = stages[-1:]
        self._pairs = Pairs.of(setting, "spkd", stages, self._teacher_stages)
        self.activations, self.taught = stages, self._pairs.taught

    def forward(self, step: Step) -> Tensor:
        """The sum over pairs of stages, of the target's batch."""
        return self._pairs.summed(step, "spkd", lambda _, __, mine, its: spkd(flat(mine), flat(its)))
