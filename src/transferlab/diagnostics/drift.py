"""Drift: how far each stage has moved from its start."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from transferlab.diagnostics.base import Look
from transferlab.module import TransferModule


def drift(now: Sequence[Tensor], start: Sequence[Tensor]) -> float:
    """The L2 distance of parameters from their start, `|w - w^0|`.

    The distance whose square Li, Grandvalet & Davoine 2018 (ICML, section 3) penalise; Gouk, Hospedales & Pontil 2021,
    "Distance-Based Regularisation of Deep Networks for Fine-Tuning" (ICLR), tie it to generalisation.

    Args:
        now: parameters of any shapes.
        start: their values before training, in the same order and shapes.
    """
    return _norm([w - w0 for w, w0 in zip(now, start, strict=True)])


class Drift:
    """`drift` of each stage and of the head: `drift/<stage>`, and `relative_drift/<stage>`, over the start's norm.

    A start whose norm is 0, such as a bias alone, has no relative drift.
    """

    reads: frozenset[str] = frozenset()

    def passes(self, module: TransferModule) -> int:
        """It looks at weights alone."""
        return 0

    def begin(self, look: Look) -> None:
        """Keep a copy of the starting weights."""
        self._start = {stage: [p.detach().clone() for p in held] for stage, held in _stages(look.module).items()}
        self._norms = {stage: _norm(start) for stage, start in self._start.items()}

    def measure(self, look: Look) -> Mapping[str, float]:
        """The distances now."""
        with torch.no_grad():
            moved = {stage: drift(now, self._start[stage]) for stage, now in _stages(look.module).items()}
        relative = {stage: far / self._norms[stage] for stage, far in moved.items() if self._norms[stage] > 0}
        return {
            f"{name}/{stage}": value
            for name, values in (("drift", moved), ("relative_drift", relative))
            for stage, value in values.items()
        }


def _stages(module: TransferModule) -> dict[str, Sequence[Tensor]]:
    backbone = module.backbone
    stages: dict[str, Sequence[Tensor]] = {stage: backbone.stage_parameters(stage) for stage in backbone.parametric}
    return {**stages, "head": list(module.head.parameters())}


def _norm(tensors: Sequence[Tensor]) -> float:
    if not tensors:
        return 0.0
    return float(
        torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(tensor.float()) for tensor in tensors]))
    )
