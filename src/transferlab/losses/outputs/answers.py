"""What a teacher answers, for losses on outputs."""

import copy
from collections.abc import Mapping
from typing import cast

import torch
from torch import nn

from transferlab.errors import InputError
from transferlab.losses.base import Setting
from transferlab.losses.teacher import Teacher


def above_zero(key: str, number: float) -> float:
    """A number of the config, such as a temperature, that must be above 0.

    Raises:
        InputError: it is not.
    """
    if number <= 0:
        raise InputError(f"{key}={number}: a number above 0")
    return number


def answering(setting: Setting, reader: str) -> Mapping[str, tuple[Teacher, int]]:
    """The teachers, and how many classes each knows.

    Args:
        setting: of the run.
        reader: the loss, for messages.

    Raises:
        InputError: there is no teacher, or one whose answers are not one class out of several.
    """
    return {name: (teacher, _classes(name, teacher, setting, reader)) for name, teacher in _all(setting, reader)}


def carried_heads(setting: Setting, reader: str) -> dict[str, nn.Module]:
    """Copies of the teachers' own heads, to train on this net's features.

    Args:
        setting: of the run.
        reader: the loss, for messages.

    Raises:
        InputError: there is no teacher, or one without a classifier on features of this backbone's length.
    """
    found = {}
    for name, (teacher, _) in answering(setting, reader).items():
        if teacher.backbone.features != setting.backbone.features:
            raise InputError(
                f"loss '{reader}': the head of the teacher '{name}' takes {teacher.backbone.features} features, this "
                f"backbone gives {setting.backbone.features}: choose a teacher with the same backbone, or strategy=kd"
            )
        found[name] = copy.deepcopy(cast(nn.Module, teacher.head)).requires_grad_().train()
    return found


def _all(setting: Setting, reader: str) -> list[tuple[str, Teacher]]:
    return list(setting.teachers_for(reader).items())


def _classes(name: str, teacher: Teacher, setting: Setting, reader: str) -> int:
    answers = teacher.observe(setting.example, torch.empty(0)).outputs
    if answers is None:
        raise InputError(
            f"loss '{reader}' reads the answers of the teacher '{name}', whose weights came without a classifier: "
            "choose a source that is pretrained here, or a finished run as teacher (strategy/teacher=run)"
        )
    if not isinstance(answers, torch.Tensor) or answers.ndim != 2 or answers.shape[1] < 2:
        raise InputError(
            f"loss '{reader}' reads logits of two classes or more, the teacher '{name}' answers something else: choose "
            "a source or a run with task=classification"
        )
    return answers.shape[1]
