"""What a head sees of a run's data: features of all samples, from the cache."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

import torch
from torch import Tensor

from transferlab.cache.packing import UncacheableError
from transferlab.data.module import EVALUATION_BATCH
from transferlab.data.sets import DOMAINS
from transferlab.diagnostics.probe import undisturbed
from transferlab.oracle import evaluate
from transferlab.prefix.activations import Activations
from transferlab.prefix.deciding import check
from transferlab.probing.seat import Seat
from transferlab.training import Run
from transferlab.values import Entered


@dataclass
class Features:
    """A part of a run's data as its head sees it.

    Attributes:
        x: features (N, F).
        y: labels (N, ...).
        flops: of a sample, before the head.
    """

    x: Tensor
    y: Tensor
    flops: float

    @property
    def batches(self) -> list[tuple[Entered, Tensor]]:
        """For validation and test."""
        parts = zip(torch.split(self.x, EVALUATION_BATCH), torch.split(self.y, EVALUATION_BATCH), strict=True)
        return [(Entered(x, {}, None, self.flops), y) for x, y in parts]


@dataclass(frozen=True)
class Known:
    """What runs that share nets need look for only once.

    Attributes:
        activations: of a run, by its net.
        features: of the same samples before the same net.
    """

    activations: dict[int, Activations] = field(default_factory=dict)
    features: dict[tuple[int, bytes], Tensor] = field(default_factory=dict)


def features(run: Run, known: Known | None = None) -> dict[str, Features]:
    """Of all parts of the data of a run that has a `Seat`, from the cache, where they are put if they are not there.

    Args:
        run: in which the net does not train.
        known: from earlier runs, whose nets are still there; what is new is put there.

    Raises:
        UncacheableError: they cannot be kept by sample, or another process computes them.
        CacheError: the disk is full, or cannot be written.
    """
    if any(rows.views > 1 for part in DOMAINS if (rows := run.data.rows(part)) is not None):
        raise UncacheableError("training samples change from epoch to epoch")
    if run.module.device != run.trainer.strategy.root_device:
        run.module.to(run.trainer.strategy.root_device)
    run.module.freeze_in(0)
    found, known, net = {}, known or Known(), id(run.module.backbone)
    with undisturbed(run.module):
        kept = run.watching.cache.activations(run.trainer, run.module)
        check(kept.inputs)
        kept.follow(known.activations.setdefault(net, kept))
        boundary = len(run.module.backbone.stages)
        kept.look.size(boundary)
        for part, rows in kept.inputs.rows.items():
            at = (net, kept.content(boundary, part))
            if at not in known.features:
                known.features[at] = _read(kept, part, boundary).to(run.module.device)
            found[part] = Features(known.features[at], rows.samples.y.to(run.module.device), kept.look.flops[boundary])
        if run.watching.oracle is not None:
            run.watching.oracle.given = found["test"].batches
    return found


def _read(kept: Activations, part: str, boundary: int) -> Tensor:
    batches = kept.batches(part, boundary, ())
    if batches is None:
        raise UncacheableError("another process computes the activations")
    x = batches(torch.arange(len(kept.inputs.rows[part]))).value
    if not isinstance(x, Tensor) or x.ndim != 2:
        raise UncacheableError("the features are not one vector a sample")
    return x


def measured(
    run: Run, parts: Mapping[str, Features], part: str, seen: Callable[[Any, Any, int], None] | None = None
) -> dict[str, float]:
    """Loss and metrics of a run's weights on a part: `<part>/loss` and the task's.

    Args:
        run: whose head is asked.
        parts: its features.
        part: `val` or `test`.
        seen: is shown each batch's outputs, the batch and its number.
    """
    run.watching.cache.count(len(parts[part].y))
    numbers = count()
    shown = None if seen is None else lambda outputs, batch: seen(outputs, batch, next(numbers))
    found = evaluate(run.trainer, run.module, parts[part].batches, run.module.metrics(part), shown)
    return {name.replace("test/", f"{part}/", 1): value for name, value in found.items()}


def end(seat: Seat, parts: Mapping[str, Features], metrics: Mapping[str, float]) -> None:
    """End an epoch of a run: validate, where labels are held out, and have its callbacks know.

    Args:
        seat: of the run.
        parts: its features.
        metrics: of its training.
    """
    found = dict(metrics)
    if "val" in parts:
        seat.call("on_validation_epoch_start")
        found |= measured(seat.run, parts, "val", partial(seat.call, "on_validation_batch_end"))
    if seat.run.watching.oracle is not None:
        seat.run.watching.cache.count(len(parts["test"].y))
    seat.end(found)


def tested(run: Run, parts: Mapping[str, Features]) -> dict[str, float]:
    """Loss and metrics of a run's weights on the test split, as `Run.settle` asks for them."""
    report = run.watching.tested
    report.on_test_epoch_start(run.trainer, run.module)
    return measured(run, parts, "test", partial(report.on_test_batch_end, run.trainer, run.module))
