"""Where in a backbone an adapter goes."""

from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from transferlab.backbones.base import Backbone
from transferlab.backbones.looking import outputs
from transferlab.choosing import matching
from transferlab.errors import InputError
from transferlab.values import Pair, Value


def in_stages(backbone: Backbone, stages: Sequence[str | int] | None) -> tuple[str, ...]:
    """Stages with parameters by name, pattern or position, in order; None: all of them.

    Raises:
        InputError: there is no such stage.
    """
    found = matching(["*"] if stages is None else stages, backbone.parametric)
    return tuple(stage for stage in backbone.parametric if stage in found)


def layers(
    backbone: Backbone,
    example: Value,
    kinds: tuple[type[nn.Module], ...],
    stages: Sequence[str | int] | None,
    modules: Sequence[str],
) -> dict[str, nn.Module]:
    """The layers that the net calls, by path. One whose weights another module reads for itself is never called.

    Args:
        backbone: whose layers they are.
        example: a small input.
        kinds: of layers.
        stages: names, patterns or positions; None: all.
        modules: patterns of paths in the net, of which one must match.

    Raises:
        InputError: there is no such stage, or no such layer in these, or a pattern matches none.
    """
    inside = in_stages(backbone, stages)
    paths = [path for path, module in backbone.net.named_modules() if isinstance(module, kinds)]
    found = [path for path in called(backbone, example, paths) if backbone.stage_of(path) in inside]
    if not found:
        raise InputError(
            f"strategy.adapter: backbone '{backbone.name}' calls no layer of a kind that can be adapted in the stages "
            f"{', '.join(inside)}: choose another adapter"
        )
    chosen = matched(modules, found, "strategy.adapter.modules")
    return {path: backbone.net.get_submodule(path) for path in found if path in chosen}


def matched(patterns: Sequence[str], paths: Sequence[str], key: str) -> set[str]:
    """The paths that patterns match.

    Args:
        patterns: `*` for anything.
        paths: of layers, some.
        key: of the config, for messages.

    Raises:
        InputError: a pattern matches none of them.
    """
    found = {pattern: {path for path in paths if fnmatchcase(path, pattern)} for pattern in patterns}
    if empty := [pattern for pattern, matching in found.items() if not matching]:
        raise InputError(f"{key}: '{empty[0]}' matches none of the layers, e.g. {', '.join(paths[:5])}")
    return set().union(*found.values())


def called(backbone: Backbone, example: Value, paths: Collection[str]) -> list[str]:
    """Those of these modules that a pass through the net calls, in the order of `paths`."""
    seen: set[str] = set()

    def hook(path: str) -> Any:
        return lambda *_: seen.add(path)

    hooks = [backbone.net.get_submodule(path).register_forward_hook(hook(path)) for path in paths]
    try:
        outputs(backbone, example, ())
    finally:
        for handle in hooks:
            handle.remove()
    return [path for path in paths if path in seen]


def side_of(given: Any, gave: Any) -> int | None:
    """Which side of a pair a stage works on; None: it is no pair, or both."""
    if not isinstance(given, Pair) or not isinstance(gave, Pair):
        return None
    sides = [side for side in (0, 1) if given[side] is not gave[side]]
    return sides[0] if len(sides) == 1 else None
