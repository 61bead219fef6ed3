"""Mean teacher: answers that agree with those of an average of one's own weights."""

import copy
from typing import cast

import torch
from torch import Tensor, nn

from transferlab.losses.base import Setting, Step
from transferlab.losses.domains.predictions import PredictionLoss
from transferlab.losses.domains.pseudo_label import share
from transferlab.losses.features.exact import full_precision
from transferlab.losses.teacher import Teacher
from transferlab.losses.weight import Weight


@full_precision
def mean_teacher(teacher: Tensor, student: Tensor, threshold: float) -> Tensor:
    """Answer as the teacher does: `1 / (B C) sum_i [max_c q_ic > threshold] sum_c (p_ic - q_ic)^2`.

    Tarvainen & Valpola 2017, "Mean teachers are better role models: Weight-averaged consistency targets improve
    semi-supervised deep learning results" (NIPS): the squared difference of the probabilities p of the student and q
    of the teacher, which gets no gradient. French et al. 2018, "Self-ensembling for visual domain adaptation" (ICLR):
    the threshold, in place of a weight that rises. The mean is over all B samples, so it is truly 0, with a gradient
    of 0, where the teacher is nowhere sure.

    Args:
        teacher: logits (B, C).
        student: logits of the same samples in the same order (B, C).
        threshold: above which the teacher's largest probability must lie, in [0, 1]; 0: every sample counts.

    Returns:
        A scalar in [0, 2 / C].
    """
    taught = teacher.detach().softmax(1)
    apart = (student.softmax(1) - taught).square().mean(1)
    return (apart * (taught.amax(1) > threshold)).mean()


class MeanTeacher(PredictionLoss):
    """`mean_teacher` between an exponential moving average of the net and the net itself, on two views of the target.

    The average follows the net once each training step, before it is asked: `a <- d a + (1 - d) w`, with
    `d = min(decay, t / (t + 1))` after t steps, of weights and of statistics of normalisation alike. It is always in
    evaluation mode.

    Args:
        weight: of the term beside the source's loss.
        decay: of the average, a step, in [0, 1].
        threshold: that the teacher's largest probability must exceed, in [0, 1].

    Raises:
        InputError: a number that is none.
    """

    reads = frozenset({"unlabeled", "strong"})
    taken: Tensor

    def __init__(self, weight: Weight, decay: float, threshold: float) -> None:
        super().__init__("mean_teacher", weight)
        self.decay = share("strategy.losses.mean_teacher.decay", decay)
        self.threshold = share("strategy.losses.mean_teacher.threshold", threshold)
        self.teacher: Teacher

    def prepare(self, setting: Setting) -> None:
        """Copy the net.

        Raises:
            InputError: a sample has not one class out of several.
        """
        super().prepare(setting)
        self.teacher = Teacher(copy.deepcopy(setting.backbone), copy.deepcopy(setting.head), None, 1.0)
        self.register_buffer("taken", torch.tensor(0))

    def forward(self, step: Step) -> Tensor:
        """Of both views of the target's batch without labels; in training the teacher follows the net first."""
        if self.training and torch.is_grad_enabled():
            self._follow(step)
        target = step.domain("unlabeled", self.name)
        taught = self.teacher.observe(target.x, target.y).outputs
        return mean_teacher(taught, step.domain("strong", self.name).outputs, self.threshold)

    @torch.no_grad()
    def _follow(self, step: Step) -> None:
        pull = (1 / (self.taken + 1)).clamp(min=1 - self.decay)
        teacher = _tensors(self.teacher.backbone, cast(nn.Module, self.teacher.head))
        for average, now in zip(teacher, _tensors(step.backbone, step.head), strict=True):
            if average.is_floating_point():
                average.lerp_(now, pull.to(average))
            else:
                average.copy_(now)
        self.taken += 1


def _tensors(backbone: nn.Module, head: nn.Module) -> list[Tensor]:
    """All that a net is made of, each once."""
    return [tensor for part in (backbone, head) for tensor in (*part.parameters(), *part.buffers())]
