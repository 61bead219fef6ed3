"""L2-SP: stay near the starting point."""

from collections.abc import Iterable

from torch import Tensor

from transferlab.losses.base import Setting, Step, TransferLoss
from transferlab.losses.weight import Weight
from transferlab.losses.weights.anchors import Anchors, squared


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
    return alpha / 2 * squared(w - w0 for w, w0 in zip(shared, start, strict=True)) + beta / 2 * squared(new)


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
        self.anchors = Anchors()

    def prepare(self, setting: Setting) -> None:
        """Keep the starting point.

        Raises:
            InputError: the backbone has random weights, so there is no starting point worth keeping.
        """
        self.anchors.keep(setting, "l2_sp")

    def forward(self, step: Step) -> Tensor:
        """The penalty at the present weights."""
        shared, new = self.anchors.shared(step.backbone, step.head), self.anchors.new(step.head)
        return l2_sp(shared, self.anchors.start, new, self.alpha, self.beta)
