"""Contrastive representation distillation: tell the teacher's embedding of the same sample from those of others."""

from collections.abc import Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transferlab.backbones.base import Backbone
from transferlab.errors import InputError, unknown
from transferlab.losses.base import Setting, Step, TransferLoss
from transferlab.losses.features.exact import full_precision, unit
from transferlab.losses.features.pairs import Pairs
from transferlab.losses.features.queue import Queue
from transferlab.losses.features.reading import readable
from transferlab.losses.stages import positions
from transferlab.losses.weight import Weight
from transferlab.tasks.binary import Binary
from transferlab.tasks.classification import Classification

_KEY = "strategy.losses.crd"
_NEGATIVES = ("auto", "all", "other_classes")
_direction = full_precision(unit)


@full_precision
def crd(
    student: Tensor,
    teacher: Tensor,
    students: Tensor,
    teachers: Tensor,
    used: Tensor,
    temperature: float,
    level: Tensor,
) -> Tensor:
    """Draw a student's embedding to the teacher's of the same sample, and away from the teacher's of other samples.

    Tian, Krishnan & Isola 2020, "Contrastive Representation Distillation" (ICLR). A critic h tells the pair (T, S) of
    one sample from N pairs of two samples; by equation 10, with the sign of a loss,

        L = -E[log h(T, S) | one sample] - N * E[log(1 - h(T, S)) | two samples].

    The critic is `h = e^(t.s / tau) / (e^(t.s / tau) + N * m)`: equation 19, where m is 1 / M, M the size of the data
    set. Whatever it is, `log(N) - L` is at most the mutual information of T and S, if two samples are drawn
    independently (section 3.1). This is the mean of two such losses: one with negatives of the teacher for each
    embedding of the student, one with negatives of the student for each of the teacher's. A sample without a negative
    has the limit of N to 0, which is 0.

    Args:
        student: unit vectors of the samples (B, E).
        teacher: likewise, row by row of the same samples (B, E).
        students: unit vectors of other samples (K, E).
        teachers: likewise (K, E).
        used: which of the K are a sample's negatives (B, K); N is how many.
        temperature: tau, above 0.
        level: log m, a scalar.

    Returns:
        A scalar, the mean over the batch.
    """
    line = used.sum(1).to(student).log() + level
    same = -F.logsigmoid((student * teacher).sum(1) / temperature - line)
    scores = student @ teachers.T / temperature, teacher @ students.T / temperature
    apart = [-F.logsigmoid((line[:, None] - score).masked_fill(~used, torch.inf)).sum(1) for score in scores]
    return (same + (apart[0] + apart[1]) / 2).mean()


@full_precision
def chance(student: Tensor, teachers: Tensor, used: Tensor, temperature: float) -> Tensor:
    """What two samples score on average, `log(mean e^(t.s / tau))`, for the level m of `crd`.

    The authors' code has it, of its first batch, in the place of 1 / M: with it a critic that knows nothing gives the
    pair of one sample a chance of about 1 in N + 1, whatever the embeddings have in common at the start.

    Args:
        student: unit vectors (B, E).
        teachers: unit vectors (K, E).
        used: which pairs count (B, K).
        temperature: tau.

    Returns:
        A scalar; minus infinity where no pair counts.
    """
    scores = (student @ teachers.T / temperature).masked_fill(~used, -torch.inf)
    return scores.logsumexp((0, 1)) - used.sum().clamp_min(1).log()


class CRD(TransferLoss):
    """`crd` at pairs of stages, through a linear embedding of each; of maps or a sequence, the mean over positions.

    Negatives are the other samples of the batch, and those of past batches from a queue.

    Args:
        weight: of the term beside the task loss.
        stages: of the net in training; None: the features.
        teacher_stages: one for each; None: those of the same names, or the features.
        dimension: length of an embedding, E.
        temperature: tau.
        queue: how many past samples are negatives.
        negatives: `all` other samples, those of `other_classes`, or `auto`: of other classes where the task has them.

    Raises:
        InputError: a number that is too small, or another word for `negatives`.
    """

    asks = "each step"

    def __init__(
        self,
        weight: Weight,
        stages: Sequence[str | int] | None,
        teacher_stages: Sequence[str | int] | None,
        dimension: int,
        temperature: float,
        queue: int,
        negatives: Literal["auto", "all", "other_classes"],
    ) -> None:
        super().__init__(weight)
        if negatives not in _NEGATIVES:
            raise unknown(f"{_KEY}.negatives", negatives, _NEGATIVES)
        if temperature <= 0:
            raise InputError(f"{_KEY}.temperature={temperature}: a number above 0")
        for name, number in {"dimension": dimension, "queue": queue}.items():
            if number < 1:
                raise InputError(f"{_KEY}.{name}={number}: at least 1")
        self.temperature, self.dimension, self.length = temperature, dimension, queue
        self.negatives, self.by_class = negatives, False
        self._stages = [-1] if stages is None else stages
        self._teacher_stages = [-1] if stages is None and teacher_stages is None else teacher_stages
        self._pairs: Pairs
        self.contrasts = nn.ModuleDict()

    def prepare(self, setting: Setting) -> None:
        """Build embeddings and queues for each teacher and pair of stages.

        Raises:
            InputError: there is no teacher, stages that do not fit, or no classes where negatives are to be of others.
        """
        classes = isinstance(setting.task, Classification | Binary)
        if self.negatives == "other_classes" and not classes:
            raise InputError(f"{_KEY}.negatives=other_classes takes one class a sample: choose all or auto")
        self.by_class = classes and self.negatives != "all"
        stages = readable(self._stages, setting.backbone, setting.example, f"{_KEY}.stages")
        self._pairs = Pairs.of(setting, "crd", stages, self._teacher_stages)
        self.activations, self.taught = stages, self._pairs.taught
        for name, examples in self._pairs.examples(setting).items():
            vectors = [(_vector(setting.backbone, s), _vector(self._pairs.nets[name], t)) for s, t in examples]
            self.contrasts[name] = nn.ModuleList(
                _Contrast(s.shape[1], t.shape[1], self.dimension, self.length) for s, t in vectors
            )

    def forward(self, step: Step) -> Tensor:
        """The sum over pairs of stages, of the target's batch; in training the queues take it in."""
        y = self._classes(step.domain("target", "crd").y)

        def formula(name: str, number: int, mine: Any, its: Any) -> Tensor:
            student, teacher = _vector(step.backbone, mine), _vector(self._pairs.nets[name], its)
            contrast = cast(nn.ModuleList, self.contrasts[name])[number]
            loss: Tensor = contrast(student, teacher, y, self.by_class, self.temperature)
            return loss

        return self._pairs.summed(step, "crd", formula)

    def _classes(self, y: Tensor) -> Tensor:
        """Of a mixture of samples, the class that it has most of; where classes do not matter, one for all."""
        if not self.by_class:
            return torch.zeros(len(y), dtype=torch.long, device=y.device)
        return y.argmax(1) if y.ndim == 2 else y.round().long() if y.is_floating_point() else y


class _Contrast(nn.Module):
    """Embeddings of a stage and of the teacher's, and what they were for past samples."""

    level: Tensor
    levelled: Tensor

    def __init__(self, own: int, theirs: int, dimension: int, length: int) -> None:
        super().__init__()
        self.own, self.theirs = nn.Linear(own, dimension), nn.Linear(theirs, dimension)
        self.queue = Queue(length, student=dimension, teacher=dimension)
        self.register_buffer("level", torch.tensor(0.0))
        self.register_buffer("levelled", torch.tensor(False))

    def forward(self, own: Tensor, theirs: Tensor, y: Tensor, by_class: bool, temperature: float) -> Tensor:
        student, teacher = _direction(self.own(own)), _direction(self.theirs(theirs))
        students, teachers = self.queue.behind("student", student), self.queue.behind("teacher", teacher)
        same, other = self.queue.others(y)
        used = other if by_class else same | other
        level = self._level(chance(student, teachers, used, temperature), used.any())
        loss: Tensor = crd(student, teacher, students, teachers, used, temperature, level)
        if self.training:
            self.queue.push(y, student=student, teacher=teacher)
        return loss

    @torch.no_grad()
    def _level(self, now: Tensor, there: Tensor) -> Tensor:
        """That of the first training batch with a negative, from then on."""
        level = torch.where(self.levelled, self.level, now.detach())
        if self.training:
            self.level.copy_(torch.where(there, level, self.level))
            self.levelled |= there
        return level


def _vector(backbone: Backbone, value: Any) -> Tensor:
    """The mean over a stage's real positions, (B, F)."""
    vectors, real = positions(backbone, value)
    there = real[..., None].to(vectors)
    return (vectors * there).sum(1) / there.sum(1).clamp_min(1)
