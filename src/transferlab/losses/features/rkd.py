"""Relational distillation: samples lie to one another as they do to a teacher."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from transferlab.errors import InputError
from transferlab.losses.base import Setting, Step, TransferLoss
from transferlab.losses.features.exact import full_precision, unit
from transferlab.losses.features.pairs import Pairs
from transferlab.losses.features.reading import readable
from transferlab.losses.weight import Weight
from transferlab.values import flat


@full_precision
def distance_wise(student: Tensor, teacher: Tensor) -> Tensor:
    """Bring distances between samples to a teacher's, each over the mean distance in its own net: their Huber loss.

    Park et al. 2019, "Relational Knowledge Distillation" (CVPR), section 3.2.1: `l_delta(psi_D(t_i, t_j),
    psi_D(s_i, s_j))` over pairs of distinct samples, `psi_D = |t_i - t_j| / mu`; a mean in place of their sum. Where
    all samples lie in one point, mu is 0 and so is psi_D. Of two samples the one distance is the mean: the loss is 0.

    Args:
        student: (B, F), B of 2 or more.
        teacher: (B, E).

    Returns:
        A scalar.

    Raises:
        InputError: one sample, which has no distance.
    """
    pairs = _check_pairs(student)
    # a distance of 0, such as that of a sample to itself, has a gradient of 0
    return F.smooth_l1_loss(_distances(student), _distances(teacher), reduction="sum") / pairs


@full_precision
def angle_wise(student: Tensor, teacher: Tensor) -> Tensor:
    """Bring the angles of triangles of samples to a teacher's: the Huber loss of their cosines.

    Section 3.2.2 of the same: `l_delta(psi_A(t_i, t_j, t_k), psi_A(s_i, s_j, s_k))` over triples of distinct samples,
    `psi_A = cos(angle t_i t_j t_k)` at t_j; a mean in place of their sum, which of two samples is over nothing and 0.
    The cosine beside a side of length 0 is 0. It takes memory for B^3 numbers a net.

    Args:
        student: (B, F), B of 2 or more.
        teacher: (B, E).

    Returns:
        A scalar.

    Raises:
        InputError: one sample.
    """
    triples = _check_pairs(student) * (len(student) - 2)
    apart = F.smooth_l1_loss(_cosines(student), _cosines(teacher), reduction="none")
    return apart.masked_fill(torch.eye(len(student), dtype=torch.bool, device=apart.device), 0).sum() / max(triples, 1)


class RKD(TransferLoss):
    """`distance_wise` and `angle_wise` at pairs of stages, of whatever shapes; of a sequence, its mean over real steps.

    Args:
        weight: of both together.
        distance: lambda of the distances, 0 or more.
        angle: lambda of the angles, 0 or more.
        stages: of the net in training.
        teacher_stages: one for each; None: those of the same names.

    Raises:
        InputError: a weight below 0, or two of 0.
    """

    asks = "each step"

    def __init__(
        self,
        weight: Weight,
        distance: float,
        angle: float,
        stages: Sequence[str | int] | None,
        teacher_stages: Sequence[str | int] | None,
    ) -> None:
        super().__init__(weight)
        if min(distance, angle) < 0 or distance == angle == 0:
            raise InputError(
                f"strategy.losses.rkd.distance={distance} and angle={angle}: 0 or more, and one of them above"
            )
        self.distance, self.angle = distance, angle
        self._stages, self._teacher_stages = stages, teacher_stages
        self._pairs: Pairs

    def prepare(self, setting: Setting) -> None:
        """Choose the stages.

        Raises:
            InputError: there is no teacher, or one without such stages.
        """
        stages = readable(self._stages, setting.backbone, setting.example, "strategy.losses.rkd.stages")
        self._pairs = Pairs.of(setting, "rkd", stages, self._teacher_stages)
        self.activations, self.taught = stages, self._pairs.taught

    def forward(self, step: Step) -> Tensor:
        """The sum over pairs of stages, of the target's batch."""
        return self._pairs.summed(step, "rkd", lambda _, __, mine, its: self._both(flat(mine), flat(its)))

    def _both(self, student: Tensor, teacher: Tensor) -> Tensor:
        terms = [(self.distance, distance_wise), (self.angle, angle_wise)]
        return torch.stack([weight * formula(student, teacher) for weight, formula in terms if weight]).sum()


def _check_pairs(samples: Tensor) -> int:
    count = len(samples)
    if count < 2:
        raise InputError("loss 'rkd' compares samples with one another, this batch has one: set batch_size=2 or more")
    return count * (count - 1)


def _distances(samples: Tensor) -> Tensor:
    """Over their mean (B, B), from differences: the way through products loses near samples in float32."""
    points = _coordinates(samples)
    found = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    mean = found.sum() / _check_pairs(samples)
    return found / mean.where(mean > 0, 1)


def _cosines(samples: Tensor) -> Tensor:
    """At each sample j between the directions to i and k, (B, B, B) in the order j, i, k."""
    points = _coordinates(samples)
    directions = unit(points[None] - points[:, None])
    return directions @ directions.mT


def _coordinates(samples: Tensor) -> Tensor:
    """The same points in a basis of what they span, (B, min(B, F)): as far apart, at the same angles, in less time.

    The basis needs no gradient: turning it with the points changes nothing, and across it distances do not change.
    """
    centred = samples - samples.mean(0)
    if len(centred) >= centred.shape[1]:
        return centred
    with torch.no_grad():
        basis = torch.linalg.qr(centred.mT).Q
    turned: Tensor = centred @ basis
    return turned
