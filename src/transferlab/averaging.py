"""Averages of weights over training, in place of the last ones."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from transferlab.errors import InputError


@dataclass(frozen=True)
class Averaging:
    """How weights are averaged; statistics of normalisation are averaged with them.

    Attributes:
        decay: of an exponential average over steps; None: all weights count alike, those at the end of each epoch.
        start: share of training after which averaging begins, in [0, 1).
        batchnorm: statistics of BatchNorm layers that train: `averaged` like weights, or taken anew for the averaged
            weights after each epoch, `recomputed` by a pass over the training samples, or of the `target` by one over
            its inputs without labels.
    """

    decay: float | None
    start: float
    batchnorm: Literal["averaged", "recomputed", "target"]

    def __post_init__(self) -> None:
        if not 0 <= self.start < 1:
            raise InputError(f"strategy.averaging.start={self.start}: a share of training in [0, 1)")
        if self.decay is not None and not 0 <= self.decay < 1:
            raise InputError(f"strategy.averaging.decay={self.decay}: a number in [0, 1)")
        if self.batchnorm not in ("averaged", "recomputed", "target"):
            raise InputError(f"strategy.averaging.batchnorm={self.batchnorm}: 'averaged', 'recomputed' or 'target'")

    @property
    def studies(self) -> frozenset[str]:
        """The domains whose training samples it goes through beside training."""
        return frozenset({"unlabeled"} if self.batchnorm == "target" else ())

    def check(self, backbone: nn.Module) -> None:
        """See that there are the layers whose statistics are those of the target.

        Raises:
            InputError: there are none.
        """
        if self.batchnorm == "target" and not any(isinstance(module, _BatchNorm) for module in backbone.modules()):
            raise InputError(
                "strategy.averaging.batchnorm=target takes BatchNorm statistics of the target, and this backbone has "
                "no BatchNorm: choose another backbone, or another strategy"
            )

    def share(self, before: int) -> float:
        """How much a further set of weights counts in the average.

        Args:
            before: how many sets are in it.
        """
        if self.decay is None:
            return 1 / (before + 1)
        # so that an average of few steps is not mostly the start
        return 1 - min(self.decay, before / (before + 9)) if before else 1.0


def ema(decay: float, start: float, batchnorm: Literal["averaged", "recomputed"]) -> Averaging:
    """Exponential moving average over steps: `a <- d a + (1 - d) w`, the first weights first.

    The decay rises as `min(decay, t / (t + 9))` with the number t of weights already averaged, as that of TensorFlow's
    ExponentialMovingAverage does where it is told the number of updates.

    Raises:
        InputError: a number out of its range.
    """
    return Averaging(decay, start, batchnorm)


def swa(start: float, batchnorm: Literal["averaged", "recomputed"]) -> Averaging:
    """Stochastic weight averaging: the mean of the weights at the end of each epoch.

    Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima and Better Generalization" (UAI), algorithm 1 with a
    cycle of one epoch; the learning rate is the scheduler's.

    Raises:
        InputError: a number out of its range.
    """
    return Averaging(None, start, batchnorm)


def adabn() -> Averaging:
    """The last weights, with BatchNorm statistics of the target's inputs.

    Li, Wang, Shi, Liu & Hou 2016, "Revisiting Batch Normalization For Practical Domain Adaptation" (arXiv:1603.04779),
    algorithm 1.
    """
    return Averaging(0.0, 0.0, "target")


class Average:
    """The running average of a net's floating-point state; whole numbers are the last ones."""

    def __init__(self) -> None:
        self.count = 0
        self.state: dict[str, Tensor] = {}

    @torch.no_grad()
    def add(self, state: Mapping[str, Tensor], share: float) -> None:
        """Count a set of weights in, by its share of the average."""
        for key, value in state.items():
            if key not in self.state or not value.is_floating_point():
                self.state[key] = value.detach().clone()
            else:
                self.state[key].lerp_(value.detach(), share)
        self.count += 1


@torch.no_grad()
def recompute(backbone: nn.Module, batches: Iterable[object]) -> None:
    """Statistics of the BatchNorm layers that train, for the weights as they are: means over batches of equal weight.

    Args:
        backbone: in training mode, its frozen layers in evaluation mode, which stay as they are.
        batches: inputs as it takes them.
    """
    modes = [(module, module.training) for module in backbone.modules()]
    layers = [module for module, training in modes if isinstance(module, _BatchNorm) and training]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    for module, _ in modes:
        module.training = False
    for layer in layers:
        layer.training = True
        layer.reset_running_stats()
        layer.momentum = None  # torch's word for a cumulative mean
    for x in batches:
        backbone(x)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    for module, mode in modes:
        module.training = mode
