"""Gaussian kernels between the samples of two batches, and how far apart they say that the batches lie."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from transferlab.errors import InputError, unknown
from transferlab.losses.features.exact import full_precision

Estimator: TypeAlias = Literal["quadratic", "unbiased", "linear"]
Bandwidth: TypeAlias = Literal["median", "mean"] | float
ESTIMATORS = ("quadratic", "unbiased", "linear")
_HEURISTICS = ("median", "mean")
_SQUARINGS = 4  # each doubles a kernel's relative error


@dataclass(frozen=True)
class Gaussians:
    """The sum of Gaussian kernels `exp(-|x - y|^2 / w)` over widths w around a middle one.

    The widths are the middle one times `factor^i`, with `kernels` whole numbers i from `-(kernels // 2)` on.

    Attributes:
        key: what the names of these settings begin with, for messages: `strategy.losses.mk_mmd.`.
        kernels: how many.
        factor: between two widths, above 1.
        bandwidth: the middle width, in squared units of what is compared: a number, or `median` or `mean` of the
            squared distances of all pairs of two samples, of either side, without gradient.

    Raises:
        InputError: no kernel, a factor of 1 or less, or a width that is none.
    """

    key: str
    kernels: int
    factor: float
    bandwidth: Bandwidth

    def __post_init__(self) -> None:
        """See that these are kernels."""
        if self.kernels < 1:
            raise InputError(f"{self.key}kernels={self.kernels}: at least 1")
        if self.factor <= 1:
            raise InputError(f"{self.key}factor={self.factor}: a number above 1")
        if isinstance(self.bandwidth, str):
            if self.bandwidth not in _HEURISTICS:
                raise unknown(f"{self.key}bandwidth", self.bandwidth, (*_HEURISTICS, "or a number above 0"))
        elif self.bandwidth <= 0:
            raise InputError(f"{self.key}bandwidth={self.bandwidth}: a number above 0, median or mean")

    def of(self, distances: Tensor, pairs: Tensor) -> Tensor:
        """The sum of kernels.

        With a factor of 2 most kernels are squares of the next wider one, which costs a tenth of an exponential.

        Args:
            distances: squared, of any shape.
            pairs: those by which the middle width is chosen (P,).

        Raises:
            InputError: so many of the pairs are alike that the middle width is 0.
        """
        widest = self.middle(pairs) * self.factor ** (self.kernels - 1 - self.kernels // 2)
        kernel = total = torch.exp(distances / -widest)
        for number in range(1, self.kernels):
            if self.factor == 2 and number % (_SQUARINGS + 1):
                kernel = kernel.square()
            else:
                kernel = torch.exp(distances * (-(self.factor**number) / widest))
            total = total + kernel
        return total

    @torch.no_grad()
    def middle(self, pairs: Tensor) -> Tensor | float:
        """The middle width, by the squared distances of pairs (P,).

        Raises:
            InputError: so many of them are 0 that it is.
        """
        if not isinstance(self.bandwidth, str):
            return self.bandwidth
        middle = pairs.median() if self.bandwidth == "median" else pairs.mean()
        if middle == 0:
            raise InputError(
                f"{self.key}bandwidth={self.bandwidth} is 0, because the samples of this batch are alike: set a "
                "number, or see whether the net still tells its inputs apart"
            )
        return middle


def mean_discrepancy(
    layers: Sequence[tuple[Tensor, Tensor]], kernels: Sequence[Gaussians], estimator: Estimator
) -> Tensor:
    """The squared distance of the mean embeddings of two batches, under the product over layers of their kernels.

    Gretton et al. 2012, "A Kernel Two-Sample Test" (JMLR 13), has three estimates. `quadratic`: the means over all
    pairs within the source and within the target, a sample beside itself among them, less twice the mean over pairs of
    both (a V-statistic: biased upwards, never negative). `unbiased`: the same, within a side over pairs of two samples
    (a U-statistic: may be negative). `linear`: each sample in one pair, the mean over i of
    `k(s_2i-1, s_2i) + k(t_2i-1, t_2i) - k(s_2i-1, t_2i) - k(s_2i, t_2i-1)` (unbiased, may be negative).

    Args:
        layers: of each the source's vectors (n, F) and the target's (m, F); F may differ between layers.
        kernels: of each layer.
        estimator: `quadratic`, `unbiased`, or `linear`, which leaves out what is beyond the smaller even number.

    Returns:
        A scalar.

    Raises:
        InputError: one sample of a side, where `unbiased` and `linear` need two; or a width of 0.
    """
    n, m = len(layers[0][0]), len(layers[0][1])
    if estimator != "quadratic" and min(n, m) < 2:
        raise InputError(
            f"{kernels[0].key}estimator={estimator} takes two samples of each domain, this batch has {n} of the "
            f"source and {m} of the target: set batch_size to 2 or more, or estimator=quadratic"
        )
    if estimator == "linear":
        quads = [quad_distances(*layer) for layer in layers]
        within_s, within_t, one, other = _product([k.of(d, d.flatten()) for k, d in zip(kernels, quads, strict=True)])
        apart: Tensor = within_s + within_t - one - other
        return apart.mean()
    upper = torch.triu_indices(n + m, n + m, 1, device=layers[0][0].device)
    squares = [squared_distances(*layer) for layer in layers]
    kernel = _product([k.of(d, d[upper[0], upper[1]]) for k, d in zip(kernels, squares, strict=True)])
    mean = _mean if estimator == "quadratic" else _mean_of_two
    found: Tensor = mean(kernel[:n, :n]) + mean(kernel[n:, n:]) - 2 * _mean(kernel[:n, n:])
    return found.to(kernel.dtype)


@full_precision
def squared_distances(source: Tensor, target: Tensor) -> Tensor:
    """Of every two samples of either side, `|x - y|^2`: (n, F) and (m, F) to (n + m, n + m), the source's first.

    By one matrix product, of samples around their mean: an offset that all share would cost its digits.
    """
    rows = torch.cat([source, target])
    found: Tensor = _SquaredDistances.apply(rows - rows.detach().mean(0))
    return found


@full_precision
def quad_distances(source: Tensor, target: Tensor) -> Tensor:
    """Squared distances that the linear estimator takes: of s_1 s_2, t_1 t_2, s_1 t_2 and s_2 t_1, (4, P)."""
    count = min(len(source), len(target)) // 2 * 2
    (s1, s2), (t1, t2) = ((side[:count:2], side[1:count:2]) for side in (source, target))
    return torch.stack([s1 - s2, t1 - t2, s1 - t2, s2 - t1]).square().sum(-1)


class _SquaredDistances(torch.autograd.Function):
    """Its gradient is one more product; of the Gram matrix torch would take two."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        lengths = rows.square().sum(1)
        found = torch.addmm(lengths[:, None] + lengths, rows, rows.T, alpha=-2)
        return found.clamp_(min=0).fill_diagonal_(0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (rows,) = ctx.saved_tensors
        both = (grad + grad.T).fill_diagonal_(0)
        return 2 * torch.addmm(both.sum(1)[:, None] * rows, both, rows, alpha=-1)


def _product(factors: list[Tensor]) -> Tensor:
    return reduce(torch.mul, factors)


def _mean(kernel: Tensor) -> Tensor:
    """In float64, as the means cancel."""
    return kernel.mean(dtype=torch.float64)


def _mean_of_two(kernel: Tensor) -> Tensor:
    """The mean off the diagonal."""
    count = len(kernel)
    return (kernel.sum(dtype=torch.float64) - kernel.diagonal().sum(dtype=torch.float64)) / (count * (count - 1))
