"""CKA: how much of what the source network sees in the target's samples a stage still sees."""

from collections.abc import Mapping, Sequence
from math import nan, sqrt

from torch import Tensor

from transferlab.diagnostics.base import Look
from transferlab.module import TransferModule


def unbiased_hsic(k: Tensor, l: Tensor) -> float:  # noqa: E741
    """The unbiased estimate HSIC_1 of the Hilbert-Schmidt independence criterion; 0 in the mean for independent data.

    `1 / (n (n - 3)) * (tr(K~ L~) + 1'K~1 1'L~1 / ((n - 1) (n - 2)) - 2 / (n - 2) * 1'K~L~1)` with K~ and L~ the Gram
    matrices with diagonals of zeros: Song et al. 2012, "Feature Selection via Dependence Maximization" (JMLR); Nguyen,
    Raghu & Kornblith 2021, "Do Wide and Deep Networks Learn the Same Things?" (ICLR), equation 3.

    Args:
        k: Gram matrix of n samples in one representation, (n, n), n at least 4.
        l: of the same samples in another, (n, n).
    """
    n = len(k)
    k, l = (gram - gram.diag().diag() for gram in (k, l))  # noqa: E741
    rows_k, rows_l = k.sum(1), l.sum(1)
    middle = rows_k.sum() * rows_l.sum() / ((n - 1) * (n - 2))
    return float(((k * l).sum() + middle - 2 / (n - 2) * (rows_k @ rows_l)) / (n * (n - 3)))


def minibatch_cka(first: Sequence[Tensor], second: Sequence[Tensor]) -> float:
    """Centred kernel alignment from the Gram matrices of minibatches; 1: the same up to rotation and scale.

    The mean of `unbiased_hsic` over minibatches, over the root of the product of its means with themselves: Nguyen,
    Raghu & Kornblith 2021, equation 2. What it estimates does not depend on the minibatches' size.

    Args:
        first: Gram matrices (n_i, n_i) of k minibatches in one representation.
        second: of the same minibatches in another.

    Returns:
        At most about 1; NaN where a representation does not vary.
    """

    def mean(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
        return sum(unbiased_hsic(k, l) for k, l in zip(a, b, strict=True)) / len(a)  # noqa: E741

    own = mean(first, first), mean(second, second)
    return mean(first, second) / sqrt(own[0] * own[1]) if min(own) > 0 else nan


class CKA:
    """`minibatch_cka` of each stage to itself at the run's start: `cka/<stage>`.

    The start is the source network; a run that starts from random weights has none, and no CKA. Of the source network
    its Gram matrices are kept, no second net.
    """

    reads = frozenset({"probe"})

    def passes(self, module: TransferModule) -> int:
        """None beside the pass that all share."""
        return 0

    def begin(self, look: Look) -> None:
        """Keep the source network's Gram matrices."""
        self._start = look.seen.grams

    def measure(self, look: Look) -> Mapping[str, float]:
        """The alignment now."""
        return {f"cka/{stage}": minibatch_cka(grams, self._start[stage]) for stage, grams in look.seen.grams.items()}
