"""An optimiser's step as one pass over memory, in place of one for each operation of its formula."""

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer

from transferlab.errors import InputError
from transferlab.optim import BuildOptimizer

KINDS = (SGD, Adam, AdamW, Adagrad)
"""Those of torch's that have such a step."""
_CHOSEN_OTHERWISE = ("foreach", "fused", "differentiable")


def fused(build: BuildOptimizer, trainer: DictConfig, on_cpu: bool) -> tuple[BuildOptimizer, bool]:
    """The same optimiser with torch's fused step where it has one: its numbers differ by round-off.

    Args:
        build: a partial optimiser of the config.
        trainer: its `fused` is true, false, or `auto`: on the CPU, unless the config says how the step is done;
            gradients that are clipped under mixed precision need the other one.
        on_cpu: whether it is computed there.

    Returns:
        What builds it, and whether its step is fused.

    Raises:
        InputError: `fused` is none of the three, or true where it cannot be.
    """
    chosen = trainer.fused
    if chosen not in (True, False, "auto"):
        raise InputError(f"trainer.fused={chosen}: auto, true or false")
    kind, given = getattr(build, "func", None), getattr(build, "keywords", {})
    clips = bool(trainer.gradient_clip_val) and str(trainer.precision).endswith("-mixed")
    if chosen == "auto":
        chosen = on_cpu and kind in KINDS and not clips and not any(key in given for key in _CHOSEN_OTHERWISE)
    if not chosen:
        return build, False
    if kind not in KINDS:
        raise InputError(
            f"trainer.fused=true: of optimisers {', '.join(one.__name__ for one in KINDS)} have such a step"
        )
    if clips:
        raise InputError("trainer.fused=true: gradients cannot be clipped under mixed precision; set one to null")
    return partial(_built, kind, **{**given, "fused": True}), True


def aligned(optimizer: Optimizer) -> Optimizer:
    """The optimiser, with gradients and state brought into the layout of their parameters before they are used.

    A fused step takes the three as they lie in memory, whatever their strides say, and would mix up their elements.
    """
    optimizer.register_step_pre_hook(_align_gradients)
    optimizer.register_load_state_dict_post_hook(_align_state)
    return optimizer


def _built(kind: Any, groups: list[dict[str, Any]], **given: Any) -> Optimizer:
    return aligned(kind(groups, **given))


def _align_gradients(optimizer: Optimizer, *given: Any) -> None:
    for parameter in _parameters(optimizer):
        if parameter.grad is not None and parameter.grad.stride() != parameter.stride():
            parameter.grad = _laid_out_as(parameter, parameter.grad)


def _align_state(optimizer: Optimizer) -> None:
    for parameter in _parameters(optimizer):
        for name, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                optimizer.state[parameter][name] = _laid_out_as(parameter, value)


def _laid_out_as(parameter: Tensor, value: Tensor) -> Tensor:
    return torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _parameters(optimizer: Optimizer) -> Iterable[Tensor]:
    return (parameter for group in optimizer.param_groups for parameter in group["params"])
