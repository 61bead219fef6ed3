"""What teachers make of the training samples: the same in every epoch, so that it can be kept."""

import logging
from collections.abc import Mapping
from typing import Any, cast

from transferlab.cache.packing import UncacheableError
from transferlab.cache.planning import Work, chosen
from transferlab.cache.store import Store
from transferlab.losses.teacher import Teacher
from transferlab.module import TransferModule
from transferlab.prefix.activations import Activations, Batches
from transferlab.prefix.inputs import Inputs
from transferlab.prefix.settings import Settings

_log = logging.getLogger(__name__)
_PART = "target"  # at whose training samples teachers look


def teachers(module: TransferModule) -> Mapping[str, Teacher]:
    """Those of a run, by name."""
    return cast(Mapping[str, Teacher], module.teachers)


def kept(
    module: TransferModule,
    inputs: Inputs,
    store: Store,
    settings: Settings,
    augmentation: Any,
    epochs: int,
    decided: list[str] | None,
) -> dict[str, Batches]:
    """For each teacher whose lessons are kept, what it makes of a batch; computed now where it is not there.

    Args:
        module: of the run.
        inputs: its samples.
        store: of all runs.
        settings: of the run.
        augmentation: what changes samples, in words.
        epochs: to come.
        decided: the teachers whose lessons are kept; None: that is to be decided.

    Raises:
        CacheError: the disk is full, or cannot be written.
    """
    found: dict[str, Batches] = {}
    for name, teacher in teachers(module).items():
        if teacher.about is None or (decided is not None and name not in decided):
            continue
        about = {**teacher.about, "augmentation": augmentation}
        taught = module.strategy.taught(name)
        activations = Activations(teacher.backbone, taught, inputs, store, settings.kind, about)
        try:
            if decided is not None or _pays(name, activations, settings, epochs):
                batches = activations.batches(_PART, len(teacher.backbone.stages), ())
                found |= {name: batches} if batches is not None else {}
        except UncacheableError as error:
            _log.info("cache off for the teacher '%s': %s", name, error)
    return found


def _pays(name: str, activations: Activations, settings: Settings, epochs: int) -> bool:
    look, rows = activations.look, activations.inputs.rows[_PART]
    end = len(activations.backbone.stages)
    size, every = look.size(end), [end] * epochs
    work = Work(every, every, look.flops, len(rows.samples), len(rows), activations.inputs.device.type)
    rounded = settings.kind is not None  # then what others have left must not decide
    ready = [end] if not rounded and activations.ready(end, [_PART]) else []
    pays = settings.use == "on" or bool(chosen(work, {end: size}, ready, settings.gigabytes * 1e9))
    said = "on for the teacher '%s': %.3g million operations and %d bytes a sample, %s in %d epochs"
    _log.info(
        f"cache {said if pays else said.replace('on', 'off', 1)}",
        *(name, look.flops[end] / 1e6, size, "done once" if pays else "which does not pay", epochs),
    )
    return pays
