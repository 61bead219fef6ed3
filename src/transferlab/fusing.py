"""An optimiser's step as one pass over memory, in place of one for each operation of its formula."""

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer

from transferlab.errors import InputError
from transferlab.optim import BuildOptimizer

KINDS = (SGD, Adam, AdamW, Adagrad)
"""Those of torch's that have such a step."""
_CHOSEN_OTHERWISE = ("foreach", "fused", "differentiable")
_BUFFER = "momentum_buffer"


def fused(build: BuildOptimizer, chosen: bool | str, on_cpu: bool, unscales: bool) -> tuple[BuildOptimizer, bool]:
    """The same optimiser with torch's fused step where it has one: its numbers differ by round-off.

    Args:
        build: a partial optimiser of the config.
        chosen: true, false, or `auto`: on the CPU, unless the config says how the step is done.
        on_cpu: whether it is computed there.
        unscales: whether gradients are clipped under mixed precision, for which Lightning needs the other step.

    Returns:
        What builds it, and whether its step is fused; with either, a checkpoint of the other goes on.

    Raises:
        InputError: `chosen` is none of the three, or true where it cannot be.
    """
    if chosen not in (True, False, "auto"):
        raise InputError(f"trainer.fused={chosen}: auto, true or false")
    kind, given = getattr(build, "func", None), getattr(build, "keywords", {})
    if kind not in KINDS:
        if chosen is True:
            names = ", ".join(one.__name__ for one in KINDS)
            raise InputError(f"trainer.fused=true: of optimisers {names} have such a step")
        return build, False
    if chosen == "auto":
        # a buffer that begins later than others would begin otherwise
        able = not unscales and not given.get("dampening")
        chosen = on_cpu and able and not any(key in given for key in _CHOSEN_OTHERWISE)
    elif chosen and unscales:
        raise InputError("trainer.fused=true: gradients cannot be clipped under mixed precision; set one to null")
    elif chosen and given.get("dampening"):
        raise InputError("trainer.fused=true: not with optimizer.dampening; set one of them back")
    return partial(_built, kind, bool(chosen), **given), bool(chosen)


def aligned(optimizer: Optimizer) -> Optimizer:
    """The optimiser, with gradients and state brought into the layout of their parameters before they are used.

    A fused step takes the three as they lie in memory, whatever their strides say, and would mix up their elements.
    """
    optimizer.register_step_pre_hook(_before_step)
    optimizer.register_load_state_dict_post_hook(_align_state)
    return optimizer


def _built(kind: Any, fused: bool, groups: list[dict[str, Any]], **given: Any) -> Optimizer:
    parameters = [one for group in groups for one in group["params"]]
    # of a slice of a larger tensor the step would take the memory in between
    if fused and all(torch.empty_like(one, device="meta").stride() == one.stride() for one in parameters):
        given |= {"fused": True}
    optimizer = aligned(kind(groups, **given))
    optimizer.register_load_state_dict_post_hook(partial(_take_steps, given.get("fused")))
    return optimizer


def _take_steps(fused: bool | None, optimizer: Optimizer) -> None:
    """As this run does, and not as the one did that wrote the checkpoint."""
    for group in optimizer.param_groups:
        group["fused"] = fused


def _before_step(optimizer: Optimizer, *given: Any) -> None:
    for parameter in _parameters(optimizer):
        if parameter.grad is not None and parameter.grad.stride() != parameter.stride():
            parameter.grad = _laid_out_as(parameter, parameter.grad)
    if isinstance(optimizer, SGD):
        for group in optimizer.param_groups:
            if group["fused"] and group["momentum"]:
                _begin_buffers(optimizer, [one for one in group["params"] if one.requires_grad])


def _begin_buffers(optimizer: SGD, parameters: list[Tensor]) -> None:
    """Where some parameters of a group have a buffer, begin those of the others: the fused step takes all or none."""
    begun = [optimizer.state.get(one, {}).get(_BUFFER) is not None for one in parameters]
    if any(begun) and not all(begun):
        for parameter, there in zip(parameters, begun, strict=True):
            if not there:
                optimizer.state[parameter][_BUFFER] = torch.zeros_like(parameter)


def _align_state(optimizer: Optimizer) -> None:
    for parameter in _parameters(optimizer):
        for name, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                optimizer.state[parameter][name] = _laid_out_as(parameter, value)


def _laid_out_as(parameter: Tensor, value: Tensor) -> Tensor:
    return torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _parameters(optimizer: Optimizer) -> Iterable[Tensor]:
    return (parameter for group in optimizer.param_groups for parameter in group["params"])
