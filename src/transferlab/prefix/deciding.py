"""Where the batches of a run may enter its net, and whether that pays."""

import logging
from collections.abc import Mapping, Sequence

from transferlab.cache.packing import UncacheableError
from transferlab.cache.planning import Work, chosen
from transferlab.data.sets import DOMAINS
from transferlab.prefix.activations import Activations
from transferlab.prefix.inputs import Inputs
from transferlab.prefix.settings import Settings

_log = logging.getLogger(__name__)

FITTED = (*DOMAINS, "val")
"""Parts of the data that a fit passes over."""


def check(inputs: Inputs) -> None:
    """See that activations of the samples can be kept at all.

    Raises:
        UncacheableError: they cannot.
    """
    if inputs.trainer.world_size > 1:
        raise UncacheableError("the run is on several devices")
    if inputs.data.mixes:
        raise UncacheableError("labels are made of the inputs, or mixed with them")
    if inputs.data.changes:
        raise UncacheableError("training samples change from epoch to epoch; cache.views=K has them do so K times")


def boundaries(
    found: Activations, settings: Settings, still: Sequence[int], same: Sequence[int], most: int, limit: float
) -> list[int]:
    """Those at which activations are kept, by the number of stages before them; a line says why.

    Args:
        found: what can be kept.
        settings: of the run.
        still: for each epoch to come, how many of the first stages are frozen in it.
        same: for each epoch to come, how many of the first stages then are as they are now.
        most: stages that can be passed.
        limit: bytes that may be kept.

    Raises:
        UncacheableError: nothing can be kept.
    """
    check(found.inputs)
    sizes, refused = {}, None
    for boundary in sorted({min(one, most) for one in map(min, still, same)} - {0}):
        try:
            sizes[boundary] = found.look.size(boundary)
        except UncacheableError as error:
            refused = error
    if refused is not None and not sizes:
        raise refused
    held = [found.inputs.rows[name] for name in FITTED if name in found.inputs.rows]
    seen, rows = sum(len(one.samples) for one in held), sum(map(len, held))
    work = Work([min(one, most) for one in still], same, found.look.flops, seen, rows, found.inputs.device.type)
    kept = paying(found, settings, work, sizes, FITTED, limit)
    _log.info("cache %s", _because(found, work, sizes, kept))
    return kept


def paying(
    found: Activations,
    settings: Settings,
    work: Work,
    sizes: Mapping[int, int],
    parts: Sequence[str],
    limit: float,
) -> list[int]:
    """The boundaries to keep: all under `cache=on`, else those that pay.

    Args:
        found: what can be kept.
        settings: of the run.
        work: that it has still to do.
        sizes: of the boundaries, bytes a sample.
        parts: of the data, that would be kept.
        limit: bytes that may be kept.
    """
    if settings.use == "on":
        return sorted(sizes)
    if not chosen(work, sizes, sizes, limit):  # nothing pays even if all of it is there
        return []
    # where the choice shows in the numbers, what others have left must not decide
    ready = [] if settings.kind is not None else [one for one in sizes if found.ready(one, parts)]
    return chosen(work, sizes, ready, limit)


def _because(found: Activations, work: Work, sizes: Mapping[int, int], kept: Sequence[int]) -> str:
    if not kept:
        last = max(sizes)
        return (
            f"off: {work.flops[last] / 1e6:.3g} million operations a sample before {found.name(last)}, saved in up "
            f"to {len(work.still)} epochs of {work.samples} samples, do not pay for keeping {sizes[last]} bytes of each"
        )
    places = ", ".join(f"{found.name(one)} ({sizes[one]} bytes a sample)" for one in kept)
    flops = work.flops[kept[-1]] / 1e6
    return f"on: activations are kept before {places}; up to {flops:.3g} million operations a sample are done once"
