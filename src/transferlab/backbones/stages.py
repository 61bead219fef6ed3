"""Stages of a net: what each computes, and whose every part of the net is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import nn

Glue: TypeAlias = Callable[[nn.Module, Any], Any]
"""A named function (net, value) -> value for what is no module of the net, e.g. flatten."""


@dataclass(frozen=True)
class Stage:
    """Consecutive steps of a net under one name.

    Attributes:
        name: e.g. `layer1`.
        steps: dotted paths of modules of the net, which work on the `h` of a `Seq`, or glue functions, in order.
        owns: paths of further modules and parameters that only glue calls.
    """

    name: str
    steps: Sequence[str | Glue]
    owns: Sequence[str] = ()

    @property
    def prefixes(self) -> tuple[str, ...]:
        """Every path of the net that is this stage's."""
        return (*(step for step in self.steps if isinstance(step, str)), *self.owns)


def owners(net: nn.Module, stages: Sequence[Stage], ignored: Sequence[str]) -> Mapping[str, str]:
    """The stage of every parameter, buffer and leaf module, by its path: the stage with the longest matching prefix.

    Args:
        net: that the stages are of.
        stages: in any order.
        ignored: paths that are no stage's.

    Raises:
        ValueError: a parameter, buffer or leaf module belongs to no stage, a prefix matches nothing, or a name or
            path is given twice.
    """
    names = [stage.name for stage in stages]
    claims = [prefix for stage in stages for prefix in stage.prefixes]
    if twice := {name for name in (*names, *claims) if max(names.count(name), claims.count(name)) > 1}:
        raise ValueError(f"these stages or paths are named twice: {', '.join(sorted(twice))}")
    prefixes = {prefix: stage.name for stage in stages for prefix in stage.prefixes}
    leaves = [name for name, module in net.named_modules() if name and not list(module.children())]
    tensors = [name for name, _ in (*net.named_parameters(), *net.named_buffers())]
    paths = list(dict.fromkeys([*tensors, *leaves]))
    found = {path: stage for path in paths if (stage := owner(path, prefixes)) is not None}
    left_out = {prefix: prefix for prefix in ignored}
    if orphans := [path for path in paths if path not in found and owner(path, left_out) is None]:
        raise ValueError(f"these parts of the net belong to no stage: {', '.join(orphans)}")
    if unused := {prefix for prefix in prefixes if not any(owner(path, {prefix: ""}) is not None for path in paths)}:
        raise ValueError(f"these paths of stages name nothing in the net: {', '.join(sorted(unused))}")
    return found


def owner(path: str, prefixes: Mapping[str, str]) -> str | None:
    """What the longest prefix of a dotted path stands for."""
    while path and path not in prefixes:
        path = path.rpartition(".")[0]
    return prefixes.get(path)
