"""Named parameter groups and their learning rates over training."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import cos, pi
from typing import Any, Literal, TypeAlias

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from transferlab.backbones.base import Backbone
from transferlab.errors import InputError
from transferlab.partials import settled

Shape: TypeAlias = Callable[[float], float]
"""A learning-rate factor as a function of the share of training in [0, 1]."""
BuildOptimizer: TypeAlias = Callable[[list[dict[str, Any]]], Optimizer]


def constant(share: float) -> float:
    """1 throughout."""
    return 1.0


def cosine(share: float) -> float:
    """Half a cosine from 1 to 0 (Loshchilov & Hutter 2017, equation 5, without restarts)."""
    return (1 + cos(pi * share)) / 2


def linear(share: float) -> float:
    """A straight line from 1 to 0."""
    return 1 - share


def slanted_triangular(share: float, *, cut_frac: float, ratio: float) -> float:
    """A short straight rise from `1 / ratio` to 1, then a long straight fall back to `1 / ratio`.

    Howard & Ruder 2018, "Universal Language Model Fine-tuning for Text Classification" (ACL), equation 3, over shares
    of training in place of steps: their turn is rounded down to a whole step, here it lies where it lies.

    Args:
        share: of training, in [0, 1].
        cut_frac: share of training that the rise takes, in (0, 1); the paper has 0.1.
        ratio: of the highest rate to the lowest, at least 1; the paper has 32.

    Raises:
        InputError: a share or a ratio that is none.
    """
    if not 0 < cut_frac < 1:
        raise InputError(f"scheduler.shape.cut_frac={cut_frac}: a share in (0, 1)")
    if ratio < 1:
        raise InputError(f"scheduler.shape.ratio={ratio}: at least 1, the highest rate by the lowest")
    p = share / cut_frac if share < cut_frac else 1 - (share - cut_frac) / (1 - cut_frac)
    return (1 + p * (ratio - 1)) / ratio


@dataclass(frozen=True)
class Schedule:
    """A group's learning-rate factor over training.

    Attributes:
        shape: of the rate after warm-up.
        warmup: share of the clock in [0, 1) during which the rate rises linearly.
        clock: `per_stage` starts a group's clock when its stage first trains, so that the stage unfrozen last still
            gets a full rate, and runs on if the stage is frozen again; `global` starts all with the run.
    """

    shape: Shape
    warmup: float
    clock: Literal["per_stage", "global"]

    def __post_init__(self) -> None:
        if not 0 <= self.warmup < 1:
            raise InputError(f"scheduler.warmup={self.warmup}: a share in [0, 1)")
        if self.clock not in ("per_stage", "global"):
            raise InputError(f"scheduler.clock={self.clock}: 'per_stage' or 'global'")
        object.__setattr__(self, "shape", settled(self.shape))
        # asked here once so that a wrong shape ends the run before the first step
        self.shape(0.0)

    def factor(self, start: float | None, steps: int, step: int) -> float:
        """The factor at one step.

        Args:
            start: the step in which the group first trains; None: it never does.
            steps: of the whole run.
            step: the present one, from 0.

        Returns:
            A factor, 0 before the group first trains.
        """
        if start is None or step < start:
            return 0.0
        origin = start if self.clock == "per_stage" else 0.0
        share = min(1.0, (step - origin) / max(steps - origin, 1))
        if share < self.warmup:
            # the first step of a warm-up already moves
            return (share + 1 / max(steps - origin, 1)) / (self.warmup + 1 / max(steps - origin, 1))
        return self.shape((share - self.warmup) / (1 - self.warmup))


def parameter_groups(
    backbone: Backbone,
    head: nn.Module,
    losses: Mapping[str, nn.Module],
    lr: float,
    lr_decay: float,
    live_batchnorm: bool = False,
) -> list[dict[str, Any]]:
    """Every parameter in exactly one named group, frozen ones too; unfreezing later only flips `requires_grad`.

    Groups are `backbone/<stage>`, `head` and `loss/<name>`; with `live_batchnorm` also `batchnorm/<stage>`, whose
    parameters train while their stage is frozen. The head and the losses have the rate `lr`, each stage
    below the head `lr_decay` times that of the stage above it (discriminative fine-tuning, Howard & Ruder 2018,
    section 3.2, who divide by 2.6).

    Raises:
        InputError: a factor that is not positive.
    """
    if lr_decay <= 0:
        raise InputError(f"strategy.lr_decay={lr_decay}: a positive factor, 1 for equal rates")
    owned = backbone.owned
    groups: list[dict[str, Any]] = []
    for depth, (stage, parameters) in enumerate(owned.items()):
        rate = lr * lr_decay ** (len(owned) - depth)
        apart = {id(p) for p in backbone.batchnorm_parameters(stage)} if live_batchnorm else set()
        groups.append(
            {"name": f"backbone/{stage}", "params": [p for p in parameters if id(p) not in apart], "lr": rate}
        )
        if apart:
            groups.append(
                {"name": f"batchnorm/{stage}", "params": [p for p in parameters if id(p) in apart], "lr": rate}
            )
    groups.append({"name": "head", "params": list(head.parameters()), "lr": lr})
    for name, loss in losses.items():
        if parameters := list(loss.parameters()):
            groups.append({"name": f"loss/{name}", "params": parameters, "lr": lr})
    return groups


def learning_rate(optimizer: BuildOptimizer) -> float:
    """The rate that a partial optimiser of the config was given.

    Raises:
        InputError: it has none, or none above 0.
    """
    rate = getattr(optimizer, "keywords", {}).get("lr")
    if not isinstance(rate, (int, float)) or not rate > 0:
        raise InputError(f"optimizer.lr={rate}: a number above 0")
    return float(rate)


def set_rates(scheduler: LambdaLR) -> None:
    """Set the rates of the step to come."""
    rates = [
        base * factor(scheduler.last_epoch)
        for base, factor in zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
    ]
    for group, rate in zip(scheduler.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    scheduler._last_lr = rates
