"""The chain of a net's modules, found by watching one forward pass."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from transferlab.backbones.stages import Glue


class NoChain(Exception):
    """Where the chain of a net's modules breaks."""


@dataclass(frozen=True)
class Call:
    """One call of a module: what it was given, what it gave, and the module that called it, '' for the net itself."""

    path: str
    caller: str
    given: Any
    gave: Any


def watched(net: nn.Module, forward: Callable[[Tensor], Tensor], x: Tensor) -> tuple[list[Call], Tensor]:
    """Every call of a module of the two outer levels of a net during its `forward`, and what that gives."""
    calls: list[Call] = []
    running = [""]
    handles = []
    for path, module in net.named_modules():
        if not path or path.count(".") > 1:
            continue

        def enter(module: nn.Module, args: Any, path: str = path) -> None:
            running.append(path)

        def leave(module: nn.Module, args: Any, kwargs: Any, gave: Any, path: str = path) -> None:
            running.pop()
            given = [value for value in (*args, *kwargs.values()) if value is not None]
            calls.append(Call(path, running[-1], given[0] if len(given) == 1 else None, gave))

        handles += [
            module.register_forward_pre_hook(enter),
            module.register_forward_hook(leave, with_kwargs=True),
        ]
    try:
        return calls, forward(x)
    finally:
        for handle in handles:
            handle.remove()


def chained(calls: Sequence[Call], given: Any, gave: Any, glue: Mapping[str, Glue]) -> list[str | Glue]:
    """The modules that make of what a net is given what it gives, in order.

    Each container of blocks, which is named in the plural, is replaced by what it holds, if that is a chain too; a
    module that is the whole chain is, whatever its name.

    Args:
        calls: as `watched` has them.
        given: to the net.
        gave: by it.
        glue: takes the place of modules, by path, that take something else than what the one before gives.

    Raises:
        NoChain: a module takes something else than what the one before gives, or what the last gives is changed.
    """
    steps = _linked(calls, "", given, gave, glue)
    by_path = {call.path: call for call in calls}
    opened: list[str | Glue] = []
    for step in steps:
        inner: list[str | Glue] = [step]
        if isinstance(step, str) and (step.endswith("s") or len(steps) == 1):
            with suppress(NoChain):  # else it stays one module
                inner = _linked(calls, step, by_path[step].given, by_path[step].gave, glue)
        opened += inner
    return opened


def _linked(calls: Sequence[Call], caller: str, given: Any, gave: Any, glue: Mapping[str, Glue]) -> list[str | Glue]:
    """The modules called by one, in order, each of which takes the very object that the one before it gave."""
    steps: list[str | Glue] = []
    value, last = given, "the input"
    for call in (call for call in calls if call.caller == caller):
        if call.given is value:
            steps.append(call.path)
        elif call.path in glue:
            steps.append(glue[call.path])
        else:
            raise NoChain(f"its module {call.path} takes something else than what {last} gives")
        value, last = call.gave, call.path
    if value is not gave or not steps:
        raise NoChain(f"what {last} gives is changed by code that is no module")
    return steps
