"""Rules over the outputs of a target: read from yaml, and sorted by who has to do with whom."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from transferlab.errors import InputError, unknown

_KEY = "strategy.losses.semantic_loss.rules"
_KINDS = ("implies", "excludes", "exactly_one", "at_most")


@dataclass(frozen=True)
class Count:
    """That some outputs are true at least so often and at most so often.

    Attributes:
        outputs: their positions.
        least: how many of them.
        most: how many of them.
    """

    outputs: tuple[int, ...]
    least: int
    most: int

    def holds(self, states: Tensor) -> Tensor:
        """Whether it does in each state (S, n) of these outputs, (S,)."""
        count = states.sum(1)
        return (self.least <= count) & (count <= self.most)


@dataclass(frozen=True)
class Implication:
    """That the second output is true wherever the first is.

    Attributes:
        outputs: their positions.
    """

    outputs: tuple[int, ...]

    def holds(self, states: Tensor) -> Tensor:
        """Whether it does in each state (S, 2) of these outputs, (S,)."""
        return ~states[:, 0] | states[:, 1]


Rule = Count | Implication


def read(rules: Any, names: Sequence[str], outputs: int) -> list[Rule]:
    """Rules as a config says them: `[{implies: [a, b]}, {excludes: [a, b]}, {at_most: {k: 2, of: [a, b, c]}}, ...]`.

    Args:
        rules: of the config; an output is named, or is a position from 0.
        names: of the outputs, where they have any.
        outputs: how many there are.

    Raises:
        InputError: what is no rule, says nothing, or names no output.
    """
    if not isinstance(rules, Sequence) or isinstance(rules, str) or not rules:
        raise InputError(f"{_KEY}={rules}: a list of one rule or more, e.g. [{{excludes: [cat, dog]}}]")
    return [_rule(f"{_KEY}[{number}]", rule, names, outputs) for number, rule in enumerate(rules)]


def connected(rules: Sequence[Rule]) -> list[list[Rule]]:
    """Rules in groups that have no output in common: outputs are independent, so groups are too."""
    groups: list[list[Rule]] = []
    for rule in rules:
        near = [group for group in groups if any(set(rule.outputs) & set(other.outputs) for other in group)]
        groups = [group for group in groups if group not in near]
        groups.append([*(other for group in near for other in group), rule])
    return groups


def _rule(key: str, rule: Any, names: Sequence[str], outputs: int) -> Rule:
    if not isinstance(rule, Mapping) or len(rule) != 1:
        raise InputError(f"{key}={rule}: one of {', '.join(_KINDS)}, e.g. {{implies: [poodle, dog]}}")
    ((kind, said),) = rule.items()
    if kind not in _KINDS:
        raise unknown("rule", str(kind), _KINDS)
    if kind == "at_most":
        return _at_most(f"{key}.at_most", said, names, outputs)
    found = _outputs(f"{key}.{kind}", said, names, outputs)
    if kind != "implies":
        return Count(found, 1 if kind == "exactly_one" else 0, 1)
    if len(found) != 2:
        raise InputError(f"{key}.implies={list(said)}: two classes, the first implies the second")
    return Implication(found)


def _at_most(key: str, said: Any, names: Sequence[str], outputs: int) -> Count:
    if not isinstance(said, Mapping) or set(said) != {"k", "of"}:
        raise InputError(f"{key}={said}: k and of, e.g. {{k: 2, of: [cat, dog, cow]}}")
    found, k = _outputs(f"{key}.of", said["of"], names, outputs), said["k"]
    if not isinstance(k, int) or isinstance(k, bool) or not 0 <= k < len(found):
        raise InputError(f"{key}.k={k}: a whole number from 0 to {len(found) - 1}, as {len(found)} classes are named")
    return Count(found, 0, k)


def _outputs(key: str, said: Any, names: Sequence[str], outputs: int) -> tuple[int, ...]:
    if not isinstance(said, Sequence) or isinstance(said, str) or len(said) < 2:
        raise InputError(f"{key}={said}: a list of two classes or more")
    found = tuple(_position(key, one, names, outputs) for one in said)
    if len(set(found)) < len(found):
        raise InputError(f"{key}={list(said)}: a class is named twice")
    return found


def _position(key: str, said: Any, names: Sequence[str], outputs: int) -> int:
    if isinstance(said, int) and not isinstance(said, bool):
        if not 0 <= said < outputs:
            raise InputError(f"{key}: there is no class at position {said} (they are counted from 0 to {outputs - 1})")
        if str(said) in names and names[said] != str(said):
            raise InputError(
                f"{key}: {said} is the position of '{names[said]}' and another class's name: give the names, in quotes"
            )
        return said
    if said not in names:
        raise unknown("class", str(said), names)
    return list(names).index(said)
