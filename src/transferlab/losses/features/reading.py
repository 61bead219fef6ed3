"""Which stages a loss on features reads where its config names none, and whether it can read those that it names."""

from collections.abc import Mapping, Sequence

from transferlab.backbones.base import Backbone
from transferlab.backbones.looking import outputs
from transferlab.errors import InputError
from transferlab.losses.stages import chosen, positions
from transferlab.values import Value


def sizes(backbone: Backbone, example: Value) -> Mapping[str, tuple[int, int]]:
    """Positions and features of each stage's output; a stage that gives a pair of values is left out."""
    found = {}
    for stage, value in outputs(backbone, example, backbone.stages).items():
        try:
            vectors = positions(backbone, value)[0]
        except InputError:
            continue
        found[stage] = (vectors.shape[1], vectors.shape[2])
    return found


def readable(
    stages: Sequence[str | int] | None, backbone: Backbone, example: Value, key: str, least: int = 1
) -> tuple[str, ...]:
    """Names of stages that give one value a sample, in the backbone's order.

    Args:
        stages: as for `chosen`; None: all that have parameters, or where none of these will do, the last of all.
        backbone: whose stages they are.
        example: a small input.
        key: of the config, for messages: `strategy.losses.delta.stages`.
        least: how many positions an output must have.

    Raises:
        InputError: a stage that is named gives something else, or every one does.
    """
    will_do = {stage for stage, (count, _) in sizes(backbone, example).items() if count >= least}
    if stages is None:
        names = [stage for stage in backbone.parametric if stage in will_do] or list(backbone.stages[-1:])
    else:
        names = list(chosen(stages, backbone, key))
    if unfit := [name for name in names if name not in will_do]:
        others = ", ".join(stage for stage in backbone.stages if stage in will_do) or "none"
        wanted = "maps, a sequence or a vector" if least == 1 else f"maps or a sequence of {least} positions or more"
        raise InputError(
            f"{key}: stage '{unfit[0]}' of backbone '{backbone.name}' does not give {wanted} a sample (those that do: "
            f"{others})"
        )
    return tuple(names)
