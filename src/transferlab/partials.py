"""Functions that the config gives with some of their arguments."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

Function = TypeVar("Function", bound=Callable[..., object])


def settled(function: Function) -> Function:
    """The same function without Hydra's question, at each call, whether it may be called.

    Hydra asks already when it builds a partial from the config; asked again, a learning rate's factor takes a
    hundred times as long, in each step, of each parameter group.
    """
    if not isinstance(function, partial):
        return function
    return partial(function.func, *function.args, **function.keywords)  # type: ignore[return-value]
