"""Attention transfer: look where a teacher looks."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from transferlab.backbones.base import Backbone
from transferlab.errors import InputError
from transferlab.losses.base import Setting, Step, TransferLoss
from transferlab.losses.features.exact import full_precision, unit
from transferlab.losses.features.pairs import Pairs, aligned, masked_mean, plain
from transferlab.losses.features.reading import readable
from transferlab.losses.weight import Weight
from transferlab.values import Seq


@full_precision
def attention_transfer(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Bring where a net is active to where its teacher is: the squared distance of attention maps of length 1.

    Zagoruyko & Komodakis 2017, "Paying More Attention to Attention: Improving the Performance of Convolutional Neural
    Networks via Attention Transfer" (ICLR), equation 2, `|Q_S / |Q_S| - Q_T / |Q_T||` of vectorised maps Q. Its norm
    has no gradient where both agree, which is where fine-tuning starts; so here, as in the authors' code, it is the
    mean of the squares, over positions and samples. A map that is 0 everywhere stays 0.

    Args:
        student: attention maps, 0 or more (B, P).
        teacher: likewise (B, P).
        mask: which positions are real (B, P).

    Returns:
        A scalar, from 0 to 2 / P.
    """
    return masked_mean((unit(student * mask) - unit(teacher * mask)).square(), mask)


@full_precision
def attention(activations: Tensor, power: float, dim: int) -> Tensor:
    """How active a net is at a position: `sum_c |A_c|^p` of the paper's section 3.1.

    Args:
        activations: with features along `dim`.
        power: p, at least 1; the higher, the more it is the most active features that count.
        dim: is kept, with size 1.

    Returns:
        Attention maps, 0 or more.
    """
    return activations.abs().pow(power).sum(dim, keepdim=True)


class AttentionTransfer(TransferLoss):
    """`attention_transfer` at pairs of stages with maps or sequences.

    Of attention maps of two sizes the larger is averaged over the cells of the smaller grid.

    Args:
        weight: beta of the authors' code; equation 2 of the paper has half of it.
        stages: of the net in training; None: all with parameters that give more than one position.
        teacher_stages: one for each; None: those of the same names.
        power: p of the maps.

    Raises:
        InputError: a power below 1.
    """

    asks = "each step"

    def __init__(
        self,
        weight: Weight,
        stages: Sequence[str | int] | None,
        teacher_stages: Sequence[str | int] | None,
        power: float,
    ) -> None:
        super().__init__(weight)
        if power < 1:
            raise InputError(f"strategy.losses.attention_transfer.power={power}: at least 1")
        self.power = power
        self._stages, self._teacher_stages = stages, teacher_stages
        self._pairs: Pairs

    def prepare(self, setting: Setting) -> None:
        """Choose the stages.

        Raises:
            InputError: there is no teacher, or stages that do not fit; of one position attention says nothing.
        """
        key = "strategy.losses.attention_transfer.stages"
        stages = readable(self._stages, setting.backbone, setting.example, key, least=2)
        self._pairs = Pairs.of(setting, "attention_transfer", stages, self._teacher_stages)
        self.activations, self.taught = stages, self._pairs.taught
        for name, examples in self._pairs.examples(setting).items():
            for stage, pair in zip(self.taught[name], examples, strict=True):
                if self._maps(setting.backbone, name, *pair)[1].shape[1] < 2:
                    raise InputError(
                        f"loss 'attention_transfer': stage '{stage}' of the teacher '{name}' gives one position a "
                        "sample, of which attention says nothing: set strategy.losses.attention_transfer.teacher_stages"
                    )

    def forward(self, step: Step) -> Tensor:
        """The sum over pairs of stages, of the target's batch."""
        return self._pairs.summed(
            step,
            "attention_transfer",
            lambda name, _, mine, its: attention_transfer(*self._maps(step.backbone, name, mine, its)),
        )

    def _maps(self, own: Backbone, name: str, mine: Any, its: Any) -> tuple[Tensor, Tensor, Tensor]:
        present, wanted = plain(own, mine), plain(self._pairs.nets[name], its)
        student, teacher, mask = aligned(self._attention(present), self._attention(wanted), "attention_transfer")
        return student[:, :, 0], teacher[:, :, 0], mask

    def _attention(self, activations: Tensor | Seq) -> Tensor | Seq:
        if isinstance(activations, Seq):
            return Seq(attention(activations.h, self.power, -1), activations.mask)
        return attention(activations, self.power, 1)
