"""Which stages a loss reads, of any backbone, and their outputs in one form."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from transferlab.backbones.base import Backbone
from transferlab.choosing import matching
from transferlab.errors import InputError
from transferlab.losses.teacher import Teacher
from transferlab.values import Seq


def chosen(stages: Sequence[str | int] | None, backbone: Backbone, key: str) -> tuple[str, ...]:
    """Names of stages in the backbone's order.

    Args:
        stages: names, patterns (`layer*`) or positions (-1 the last); None: every stage that has parameters.
        backbone: whose stages they are.
        key: of the config, for messages: `strategy.losses.delta.stages`.

    Raises:
        InputError: one matches nothing, or none is named.
    """
    found = set(backbone.parametric) if stages is None else matching(stages, backbone.stages)
    if not found:
        raise InputError(f"{key}={list(stages or ())}: at least one stage")
    return tuple(stage for stage in backbone.stages if stage in found)


def of_teacher(
    stages: Sequence[str | int] | None, own: Sequence[str], name: str, teacher: Teacher, key: str
) -> tuple[str, ...]:
    """The teacher's stages that answer to those of the net in training, one each.

    Args:
        stages: as for `chosen`; None: those of the same names.
        own: names in the net in training.
        name: of the teacher.
        teacher: whose stages are wanted.
        key: of the config, for messages: `strategy.losses.fitnets.teacher_stages`.

    Raises:
        InputError: another number of stages, or no such names in the teacher's net.
    """
    if stages is None:
        if missing := [stage for stage in own if stage not in teacher.backbone.stages]:
            raise InputError(
                f"the teacher '{name}' has no stage '{missing[0]}' (it has: {', '.join(teacher.backbone.stages)}): "
                f"name in {key} one for each of {', '.join(own)}"
            )
        return tuple(own)
    found = chosen(stages, teacher.backbone, key)
    if len(found) != len(own):
        raise InputError(f"{key} names {len(found)} stages ({', '.join(found)}) for {len(own)}: {', '.join(own)}")
    return found


def positions(backbone: Backbone, value: Any) -> tuple[Tensor, Tensor]:
    """A stage's output as vectors at positions: pixels of maps, patches, steps of a sequence, or one for a vector.

    Args:
        backbone: whose stage gave it.
        value: maps, tokens, a `Seq` (B, T, F) or vectors (B, F).

    Returns:
        Vectors (B, P, F), and which of them are real, (B, P).

    Raises:
        InputError: it is none of these.
    """
    if isinstance(value, Seq) and value.h.ndim == 3:
        return value.h, value.mask
    vectors = value[:, None] if isinstance(value, Tensor) and value.ndim == 2 else backbone.maps(value).flatten(2).mT
    return vectors, torch.ones(vectors.shape[:2], dtype=torch.bool, device=vectors.device)
