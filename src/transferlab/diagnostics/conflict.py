"""Gradient conflict: whether a transfer loss pulls with the task or against it."""

from collections.abc import Mapping, Sequence
from math import nan, sqrt

import torch
from torch import Tensor

from transferlab.data.loading import size
from transferlab.diagnostics.base import Look
from transferlab.diagnostics.probe import remembered
from transferlab.module import TransferModule

Gradients = Sequence[Tensor | None]


def gradient_cosine(first: Gradients, second: Gradients) -> float:
    """The cosine of the angle between two gradients, over the parameters that both reach.

    `g_i . g_j / (|g_i| |g_j|)`: Yu et al. 2020, "Gradient Surgery for Multi-Task Learning" (NeurIPS), definition 1,
    where a negative one is a conflict; Du et al. 2018 use it to tell when an auxiliary loss helps.

    Args:
        first: the gradient of each parameter, None where a loss does not reach it.
        second: likewise, in the same order.

    Returns:
        Between -1 and 1; NaN where one is zero, or they share no parameter.
    """
    both = [(a.double(), b.double()) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    dot = sum(float((a * b).sum()) for a, b in both)
    norms = [sqrt(sum(float(pair[side].square().sum()) for pair in both)) for side in (0, 1)]
    return dot / (norms[0] * norms[1]) if min(norms) > 0 else nan


class GradientCosine:
    """`gradient_cosine` of the task loss and each transfer loss times its weight: `gradient_cosine/<loss>`.

    Where no label of the target is trained on, the task loss is that on the source.

    Over the trainable parameters of the backbone, on the probe, in evaluation mode: BatchNorm and dropout do what they
    do on unseen samples. The weight is that of the last step.
    """

    reads = frozenset({"batches"})

    def passes(self, module: TransferModule) -> int:
        """One forward pass a domain; backward, twice that for the task and for each loss and domain that it reads."""
        if not module.losses:
            return 0
        reads = [len(loss.reads) for loss in module.strategy.losses.values()]
        return len(module.strategy.reads) + 2 + 2 * sum(reads)

    def begin(self, look: Look) -> None:
        """It needs nothing of the start."""

    def measure(self, look: Look) -> Mapping[str, float]:
        """The cosines now."""
        parameters = [p for p in look.module.backbone.parameters() if p.requires_grad]
        if not parameters or not look.module.losses:
            return {}
        sums: dict[str, list[Tensor | None]] = {}
        with remembered(look.module.losses):
            for batch in look.batches:
                for name, term in look.module.terms(batch, look.progress).items():
                    sums[name] = _added(sums.get(name), _gradient(term * size(batch), parameters))
        if (task := sums.pop("task", None) or sums.pop("source_task", None)) is None:
            return {}
        return {f"gradient_cosine/{name}": gradient_cosine(task, gradient) for name, gradient in sums.items()}


def _gradient(term: Tensor, parameters: Sequence[Tensor]) -> Gradients:
    if not term.requires_grad:
        return [None] * len(parameters)
    return torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)


def _added(total: list[Tensor | None] | None, more: Gradients) -> list[Tensor | None]:
    if total is None:
        return list(more)
    return [b if a is None else a if b is None else a + b for a, b in zip(total, more, strict=True)]
