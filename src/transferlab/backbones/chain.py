"""A value's way through a chain of stages, which can be entered and left between any two of them."""

from collections.abc import Collection, Mapping
from typing import Any

from torch import nn

from transferlab.backbones.stages import Stage
from transferlab.errors import InputError, unknown
from transferlab.values import Carried, Entered, Seq, Value


def through(
    net: nn.Module,
    chain: Mapping[str, Stage],
    x: Value | Entered,
    keep: Collection[str],
    start: str | None = None,
    stop: str | None = None,
) -> tuple[Any, dict[str, Any]]:
    """What the chain makes of a value, with the outputs of the stages named in `keep`, and of no others.

    Args:
        net: that the stages are of.
        chain: stages by name, in order.
        x: what the first stage to run takes; a batch that has entered the net says itself where it goes on.
        keep: names of stages.
        start: the first stage to run; None: the first of all.
        stop: the stage before which to halt; None: run all.

    Raises:
        InputError: no such stage, or one that lies behind where to halt.
    """
    first, end = _position(chain, start, 0), _position(chain, stop, len(chain))
    if missing := set(keep) - chain.keys():
        raise unknown("stage", min(missing), tuple(chain))
    kept: dict[str, Any] = {}
    if isinstance(x, Entered):
        x, first, kept = _entered(chain, x, keep)
    names = tuple(chain)
    if first > end:
        raise InputError(f"start='{names[first] if first < len(names) else None}' lies behind stop='{stop}'")
    for name in names[first:end]:
        for step in chain[name].steps:
            x = _called(net.get_submodule(step), x) if isinstance(step, str) else step(net, x)
        if name in keep:
            kept[name] = x.seen if isinstance(x, Carried) else x
    return x, kept


def _entered(chain: Mapping[str, Stage], x: Entered, keep: Collection[str]) -> tuple[Any, int, dict[str, Any]]:
    """The value, the position at which it goes on, and of the outputs before that those wanted."""
    first = _position(chain, x.stage, 0) if x.stage is not None else len(chain)
    if lost := {name for name in tuple(chain)[:first] if name in keep} - x.kept.keys():
        raise InputError(f"the batch enters at '{x.stage}', and the output of '{min(lost)}' was not kept")
    return x.value, first, {name: value for name, value in x.kept.items() if name in keep}


def _position(chain: Mapping[str, Stage], stage: str | None, default: int) -> int:
    if stage is None:
        return default
    if stage not in chain:
        raise unknown("stage", stage, tuple(chain))
    return tuple(chain).index(stage)


def _called(module: nn.Module, x: Any) -> Any:
    return Seq(module(x.h), x.mask) if isinstance(x, Seq) else module(x)
