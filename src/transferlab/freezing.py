"""Freezing schedules: pure functions (stages, epoch) -> the stages that train.

`stages` runs from input to output and ends with `head`. Nothing is remembered between epochs, so a resumed run freezes
exactly what an uninterrupted one does.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from transferlab.choosing import matching
from transferlab.errors import InputError

Freezing: TypeAlias = Callable[[Sequence[str], int], set[str]]


def full(stages: Sequence[str], epoch: int) -> set[str]:
    """Every stage trains."""
    return set(stages)


def linear_probe(stages: Sequence[str], epoch: int) -> set[str]:
    """Only the head trains."""
    return {stages[-1]}


def backbone(stages: Sequence[str], epoch: int) -> set[str]:
    """Every stage but the head trains."""
    return set(stages[:-1])


def top_k(stages: Sequence[str], epoch: int, *, k: int) -> set[str]:
    """The last k stages and the head train; all keep the source's weights (cf. Yosinski et al. 2014, who redraw them).

    Raises:
        InputError: k is negative or exceeds the number of stages.
    """
    if not 0 <= k < len(stages):
        raise InputError(f"strategy.freezing.k={k}: between 0 and {len(stages) - 1}, the stages with parameters")
    return set(stages[len(stages) - 1 - k :])


def probe_then_tune(stages: Sequence[str], epoch: int, *, probe_epochs: int) -> set[str]:
    """The head alone for `probe_epochs` epochs, then everything (LP-FT, Kumar et al. 2022)."""
    return linear_probe(stages, epoch) if epoch < probe_epochs else set(stages)


def gradual_unfreezing(stages: Sequence[str], epoch: int, *, every: int) -> set[str]:
    """The head, then every `every` epochs one stage more, from the last down (Howard & Ruder 2018, section 3.3)."""
    return set(stages[-1 - epoch // _epochs("every", every) :])


def chain_thaw(stages: Sequence[str], epoch: int, *, every: int) -> set[str]:
    """The head, then each stage alone from the first up, then all; `every` epochs a phase (Felbo et al. 2017)."""
    phase = epoch // _epochs("every", every)
    order = (stages[-1], *stages[:-1])
    return {order[phase]} if phase < len(order) else set(stages)


def surgical(stages: Sequence[str], epoch: int, *, train: Sequence[str | int]) -> set[str]:
    """The chosen stages and the head train (Lee et al. 2023).

    Args:
        stages: all, the head last.
        epoch: has no influence.
        train: names, patterns or positions among the backbone's stages.
    """
    return {*matching(train, stages[:-1]), stages[-1]}


def milestones(stages: Sequence[str], epoch: int, *, at: Mapping[str, Sequence[str | int]]) -> set[str]:
    """From each listed epoch on the stages listed for it train.

    Args:
        stages: all, the head last; positions count the head too.
        epoch: the present one.
        at: names, patterns or positions by epoch; epochs are words, so that a command line can override one.

    Raises:
        InputError: a key is no epoch, or epoch 0 is not listed.
    """
    if wrong := [key for key in at if not str(key).isdecimal()]:
        raise InputError(f"strategy.freezing.at.{wrong[0]}: '{wrong[0]}' is no epoch; epochs are counted from 0")
    listed = {int(key): chosen for key, chosen in at.items()}
    if 0 not in listed:
        raise InputError(f"strategy.freezing.at lists the epochs {sorted(listed)}: what trains from 0 on is missing")
    return matching(listed[max(start for start in listed if start <= epoch)], stages)


def first_epochs(freezing: Freezing, stages: Sequence[str], epochs: int) -> dict[str, int]:
    """The epoch in which each stage first trains, for those that do within `epochs`."""
    first: dict[str, int] = {}
    for epoch in range(epochs):
        for stage in freezing(stages, epoch):
            first.setdefault(stage, epoch)
    return first


def _epochs(name: str, value: int) -> int:
    if value < 1:
        raise InputError(f"strategy.freezing.{name}={value}: a number of epochs, at least 1")
    return value
