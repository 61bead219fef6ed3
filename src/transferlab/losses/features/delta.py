"""DELTA: keep what a net's stages say, most of all in the channels that the target needs."""

import logging
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from transferlab.errors import InputError, unknown
from transferlab.losses.base import Setting, Step, Study, TransferLoss
from transferlab.losses.features.channels import fitted, increases, spread
from transferlab.losses.features.exact import full_precision
from transferlab.losses.features.pairs import Pairs, masked_mean
from transferlab.losses.features.reading import readable, sizes
from transferlab.losses.stages import positions
from transferlab.losses.teacher import Teacher
from transferlab.losses.weight import Weight

Attention: TypeAlias = Literal["softmax", "standardised", "none"]
_ATTENTIONS = ("softmax", "standardised", "none")
_BATCH = 64  # samples at once while the split is studied

_log = logging.getLogger(__name__)


@full_precision
def delta(present: Tensor, start: Tensor, mask: Tensor, weights: Tensor) -> Tensor:
    """Hold a stage's channels near what they were at the start: half their weighted squared distance.

    Li et al. 2019, "DELTA: DEep Learning Transfer using Feature Map with Attention for Convolutional Networks" (ICLR),
    the behavioural regulariser `sum_j W_j * |FM_j(w, x) - FM_j(w*, x)|^2` over channels j. As in the authors' code it
    is halved, over the number of positions, and has weights whose mean is 1; of samples it is a mean.

    Args:
        present: activations now (B, P, C).
        start: those of the starting net (B, P, C).
        mask: which positions are real (B, P).
        weights: of the channels (C,).

    Returns:
        A scalar.
    """
    # whose operations are counted alike for every memory layout; those of @ are not
    return masked_mean(torch.einsum("bpc,c->bp", (present - start).square(), weights), mask) / 2


def channel_weights(increase: Tensor, temperature: float | None) -> Tensor:
    """How much each channel counts, from what it costs to switch it off: a softmax, times the number of channels.

    The attention of the same paper, `softmax(L(w* without j) - L(w*))`. The authors' code first standardises the
    increases and divides them by a temperature of 5; increases that are all alike give weights that are.

    Args:
        increase: of the loss, for each channel (C,).
        temperature: by which standardised increases are divided, above 0; None: they are taken as they are.

    Returns:
        Weights (C,), above 0, with mean 1.
    """
    if temperature is not None:
        deviation = increase.std(correction=0)
        increase = (increase - increase.mean()) / deviation.where(deviation > 0, 1) / temperature
    return increase.softmax(0) * len(increase)


class Delta(TransferLoss):
    """`delta` at several stages, and `beta / 2 * |w|^2` on a new head; takes the place of weight decay.

    The weights of the channels are found once, on the target's training split, for each teacher, which is the starting
    net where the config names none.

    Args:
        weight: of the whole term.
        alpha: on the stages.
        beta: on a new head, and on the classifier by which channels are weighed.
        stages: of the net in training; None: all with parameters.
        attention: `softmax`: of the increases of the loss, as the paper has it | `standardised`: of standardised ones,
            as the authors' code has it | `none`: all channels count alike.
        temperature: of `standardised`, above 0.
        samples: on which the increases are measured, at most.

    Raises:
        InputError: a setting that is none.
    """

    asks = "each step"
    studies = frozenset({"target"})
    replaces_weight_decay = True

    def __init__(
        self,
        weight: Weight,
        alpha: float,
        beta: float,
        stages: Sequence[str | int] | None,
        attention: Attention,
        temperature: float,
        samples: int,
    ) -> None:
        super().__init__(weight)
        if attention not in _ATTENTIONS:
            raise unknown("strategy.losses.delta.attention", attention, _ATTENTIONS)
        if temperature <= 0 or samples < 1:
            raise InputError(
                f"strategy.losses.delta.temperature={temperature}, samples={samples}: a number above 0, and 1 or more"
            )
        self.alpha, self.beta = alpha, beta
        self._stages, self._attention, self._samples = stages, attention, samples
        self._temperature = temperature if attention == "standardised" else None
        self._pairs: Pairs
        self._new_head = True

    def prepare(self, setting: Setting) -> None:
        """Choose the stages; until the split is studied all channels count alike.

        Raises:
            InputError: there is no teacher, one of other shapes, or a head by which channels cannot be weighed.
        """
        self._new_head = not setting.head_from_source
        stages = readable(self._stages, setting.backbone, setting.example, "strategy.losses.delta.stages")
        self._pairs = Pairs.of(setting, "delta", stages, None)
        self.activations, self.taught = stages, self._pairs.taught
        own = sizes(setting.backbone, setting.example)
        for place, (name, teacher) in enumerate(setting.teachers_for("delta").items()):
            self._check(name, teacher, setting, own)
            for number, stage in enumerate(stages):
                self.register_buffer(f"weights_{place}_{number}", torch.ones(own[stage][1]))

    def study(self, study: Study) -> None:
        """Weigh the channels of each teacher's stages by a classifier on its features."""
        if self._attention == "none":
            return
        for place, name in enumerate(self.taught):
            net = study.teachers[name].backbone
            _log.info("loss 'delta': weighing the channels of %d stages of '%s'", len(self.activations), name)
            head = fitted(study.head, net, study.task, study.batches("target", _BATCH), self.beta)
            total = sum(len(y) for _, y in study.batches("target", _BATCH))
            chosen = spread(study.batches("target", _BATCH), total, self._samples)
            for number, stage in enumerate(self.activations):
                parts = [len(y) * increases(net, head, study.task, stage, x, y) for x, y in chosen]
                increase = torch.stack(parts).sum(0) / sum(len(y) for _, y in chosen)
                self._weights(place, number).copy_(channel_weights(increase, self._temperature))

    def forward(self, step: Step) -> Tensor:
        """The loss of the target's batch."""
        places = {name: place for place, name in enumerate(self.taught)}

        def formula(name: str, number: int, mine: Any, its: Any) -> Tensor:
            present, mask = positions(step.backbone, mine)
            start, _ = positions(self._pairs.nets[name], its)
            return delta(present, start, mask, self._weights(places[name], number))

        loss = self.alpha * self._pairs.summed(step, "delta", formula)
        if self._new_head and self.beta:
            loss = loss + self.beta / 2 * torch.stack([w.square().sum() for w in step.head.parameters()]).sum()
        return loss

    def _check(self, name: str, teacher: Teacher, setting: Setting, own: Any) -> None:
        its = sizes(teacher.backbone, setting.example)
        for stage in self.activations:
            if its.get(stage) != own[stage]:
                raise InputError(
                    f"loss 'delta' compares equal shapes, and stage '{stage}' of the teacher '{name}' has others: "
                    "choose a teacher with the same backbone, or strategy=fitnets"
                )
        if self._attention != "none" and (setting.task.dense or hasattr(setting.head, "reads")):
            raise InputError(
                "loss 'delta' weighs channels by a head on one vector a sample, which this task has not: set "
                "strategy.losses.delta.attention=none"
            )
        if self._attention != "none" and teacher.backbone.features != setting.backbone.features:
            raise InputError(
                f"loss 'delta' weighs channels by a head on {setting.backbone.features} features, the teacher '{name}' "
                f"gives {teacher.backbone.features}: set strategy.losses.delta.attention=none"
            )

    def _weights(self, place: int, number: int) -> Tensor:
        return self.get_buffer(f"weights_{place}_{number}")
