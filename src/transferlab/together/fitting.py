"""The fit of several runs at once: their heads step together, and each run keeps its own record of it."""

import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import accumulate
from math import isfinite, nan
from typing import Any, cast

import torch
from torch import Tensor

from transferlab.errors import DivergedError
from transferlab.flops import Flops
from transferlab.module import CHECK_EVERY
from transferlab.probing.features import Features, end
from transferlab.probing.seat import Seat
from transferlab.together.stack import OPTIMIZERS, Stack
from transferlab.values import Entered


@dataclass
class Fitting:
    """One run in a fit of several.

    Attributes:
        seat: its place.
        parts: its features, by part of the data.
        error: that ended it.
    """

    seat: Seat
    parts: Mapping[str, Features]
    error: Exception | None = None


def _grouped(fittings: Sequence[Fitting]) -> tuple[list[Fitting], int]:
    """Runs that see the same batches beside one another, and how many groups of one size they are."""
    groups: dict[tuple[int, int], list[Fitting]] = {}
    for one in fittings:
        groups.setdefault((id(one.parts["target"].x), int(one.seat.run.config.seed)), []).append(one)
    alike = len({len(group) for group in groups.values()}) == 1
    return [one for group in groups.values() for one in group], len(groups) if alike else len(fittings)


@dataclass(frozen=True)
class _Joined:
    """What several runs have of each of their samples, end to end; runs that have the same have it once.

    Attributes:
        rows: all of it.
        first: where that of each run begins, (R, 1).
    """

    rows: Tensor
    first: Tensor

    def taken(self, positions: Tensor) -> Tensor:
        """Of some samples of each run, (R, B), (R, B, ...)."""
        # one index over all rows gathers several times faster than one for runs and one for samples
        found = self.rows.index_select(0, (self.first + positions).flatten())
        return found.reshape(*positions.shape, *self.rows.shape[1:])


def apart_by_steps(one: Fitting) -> str | None:
    """Why a run's steps cannot be batched; None: they can."""
    module, kind = one.seat.run.module, type(one.seat.optimizers[0])
    if kind not in OPTIMIZERS:
        return f"the optimizer is {kind.__name__}, none of {', '.join(known.__name__ for known in OPTIMIZERS)}"
    first = torch.tensor(_tickets(one.seat, 0)[0])
    x, y = one.parts["target"].x[first], one.parts["target"].y[first]
    try:
        batched = Stack([module.head], module.task.loss, kind, [one.seat.group]).losses(x[None], y[None])
    except Exception:  # torch's for what it has no batched form of
        batched = x.new_full((1,), nan)
    alone = module.task.loss(module.head(x), y)
    return None if torch.allclose(batched[0], alone, rtol=1e-4) else "the task's loss has no batched form"


def fit(fittings: Sequence[Fitting]) -> None:
    """Train the heads of several runs of one form; what ends a run by itself is kept as its error."""
    began = time.perf_counter()
    fittings, groups = _grouped(fittings)
    seats = [one.seat for one in fittings]
    modules = [seat.run.module for seat in seats]
    for one in fittings:
        one.seat.start()
    _count(fittings)
    stack = Stack(
        [module.head for module in modules],
        modules[0].task.loss,
        type(seats[0].optimizers[0]),
        [seat.group for seat in seats],
    )
    x = _joined([one.parts["target"].x for one in fittings[:: len(fittings) // groups]])
    y = _joined([one.parts["target"].y for one in fittings])
    for epoch in range(seats[0].max_epochs):
        for seat in seats:
            seat.begin(epoch)
        means = _epoch(stack, fittings, x, y, epoch)
        for number, one in enumerate(fittings):
            stack.hand_out(number)
            _end(one, float(means[number]))
    each = (time.perf_counter() - began) / len(seats)
    for seat in seats:
        history, flops = seat.run.watching.history, seat.run.watching.flops
        history.seconds = each
        flops.sets = {stages: {**one, "samples": history.samples} for stages, one in flops.sets.items()}


def _epoch(stack: Stack, fittings: Sequence[Fitting], x: _Joined, y: _Joined, epoch: int) -> Tensor:
    """One pass over the target of each run; the means of their losses over samples, (R,)."""
    seats, each = [one.seat for one in fittings], len(fittings) // len(x.first)
    tickets = [_tickets(seat, epoch) for seat in seats[::each]]
    samples = sum(map(len, tickets[0]))
    sums, done = x.rows.new_zeros(len(seats)), 0
    for step, batches in enumerate(zip(*tickets, strict=True)):
        rows = torch.tensor(batches, device=x.rows.device)
        rates = [seat.rate(seat.global_step + step) for seat in seats]
        sums += stack.step(x.taken(rows), y.taken(rows.repeat_interleave(each, 0)), rates) * rows.shape[1]
        if step % CHECK_EVERY == 0:
            _stop_diverged(fittings, sums, done)
        done += rows.shape[1]
    for one in fittings:
        _counted(one, samples)
    return sums / samples


def _stop_diverged(fittings: Sequence[Fitting], sums: Tensor, samples: int) -> None:
    """End the runs whose losses are no numbers any more, within an epoch of which they have done so many samples."""
    for one, finite in zip(fittings, sums.isfinite().tolist(), strict=True):
        if not finite:
            _counted(one, samples)
            one.error = one.error or _diverged(one)


def _counted(one: Fitting, samples: int) -> None:
    if one.error is None:
        one.seat.run.watching.history.samples += samples
        one.seat.run.watching.cache.count(samples)


def _diverged(one: Fitting) -> DivergedError:
    return DivergedError.during(one.seat.current_epoch)


def _joined(parts: Sequence[Tensor]) -> _Joined:
    own = {id(part): part for part in parts}
    begins = dict(zip(own, accumulate(map(len, own.values()), initial=0), strict=False))
    first = torch.tensor([[begins[id(part)]] for part in parts], device=parts[0].device)
    return _Joined(torch.cat(list(own.values())) if len(own) > 1 else parts[0], first)


def _tickets(seat: Seat, epoch: int) -> list[list[int]]:
    order = seat.run.data.order()
    order.set_epoch(epoch)
    return [ticket.indices for ticket in order]


def _end(one: Fitting, loss: float) -> None:
    """A run's epoch ends, unless it had ended before."""
    if one.error is not None:
        return
    try:
        end(one.seat, one.parts, {"train/task_loss": loss})
        if not isfinite(loss):
            raise _diverged(one)
    except Exception as error:
        one.error = error


def _count(fittings: Sequence[Fitting]) -> None:
    """Count the operations of each run's step, which are those of another run behind features of the same cost."""
    counted: dict[float, Flops] = {}
    for one in fittings:
        part, flops = one.parts["target"], one.seat.run.watching.flops
        if part.flops in counted:
            flops.load_state_dict(deepcopy(counted[part.flops].state_dict()))
        else:
            _counted_in(one.seat, part)
            counted[part.flops] = flops


def _counted_in(seat: Seat, part: Features) -> None:
    """Take a run's step under its counter."""
    run, flops = seat.run, seat.run.watching.flops
    first = torch.tensor(_tickets(seat, 0)[0])
    batch = {"target": (Entered(part.x[first], {}, None, part.flops), part.y[first])}
    flops.on_train_batch_start(run.trainer, run.module, batch, 0)
    with torch.enable_grad():
        cast(Any, run.module).terms(batch, 0.0)["task"].backward()
    flops.on_after_backward(run.trainer, run.module)
    flops.on_train_batch_end(run.trainer, run.module, None, batch, 0)
    run.module.zero_grad()
