"""L2-SP: stay near the starting point."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from transferlab.errors import InputError
from transferlab.losses.base import Setting, Step, TransferLoss
from transferlab.losses.weight import Weight


def l2_sp(
    shared: Iterable[Tensor], start: Iterable[Tensor], new: Iterable[Tensor], alpha: float, beta: float
) -> Tensor:
    """Pull the transferred weights towards where they started, and the new ones towards zero.

    `alpha / 2 * |w_S - w_S^0|^2 + beta / 2 * |w_new|^2`: Li, Grandvalet & Davoine 2018, "Explicit Inductive Bias for
    Transfer Learning with Convolutional Networks" (ICML), the L2-SP penalty of section 3. All parameters of the
    backbone count as w_S, biases and BatchNorm's affine parameters among them.

    Args:
        shared: parameters that come from the source, of any shapes.
        start: their values before training, in the same order and shapes.
        new: the others, of any shapes.
        alpha: strength towards the start.
        beta: strength towards zero.

    Returns:
        A scalar.
    """
    pulled = sum(((w - w0).square().sum() for w, w0 in zip(shared, start, strict=True)), torch.zeros(()))
    decayed = sum((w.square().sum() for w in new), torch.zeros(()))
    return alpha / 2 * pulled + beta / 2 * decayed


class L2SP(TransferLoss):
    """`l2_sp` on a run's backbone and head; takes the place of weight decay.

    A head whose weights come from the source is pulled towards them, as the backbone is.

    Args:
        weight: of the whole term.
        alpha: on what comes from the source.
        beta: on a new head.
    """

    replaces_weight_decay = True

    def __init__(self, weight: Weight, alpha: float, beta: float) -> None:
        super().__init__(weight)
        self.alpha, self.beta = alpha, beta
        self._anchors = 0
        self._new_head = True

    def prepare(self, setting: Setting) -> None:
        """Keep the starting point as buffers.

        Raises:
            InputError: the backbone has random weights, so there is no starting point worth keeping.
        """
        if not setting.from_source:
            raise InputError(
                "loss 'l2_sp' pulls towards the source's weights, and this run starts from none: set source"
            )
        self._new_head = not setting.head_from_source
        shared = self._shared(setting.backbone, setting.head)
        for number, parameter in enumerate(shared):
            self.register_buffer(f"start_{number}", parameter.detach().clone())
        self._anchors = len(shared)

    def forward(self, step: Step) -> Tensor:
        """The penalty at the present weights."""
        start = (self.get_buffer(f"start_{number}") for number in range(self._anchors))
        new = step.head.parameters() if self._new_head else ()
        return l2_sp(self._shared(step.backbone, step.head), start, new, self.alpha, self.beta)

    def _shared(self, backbone: nn.Module, head: nn.Module) -> list[nn.Parameter]:
        return [*backbone.parameters(), *(() if self._new_head else head.parameters())]
