"""The fit of a run whose head is solved for: a row for each penalty, in place of epochs."""

import copy
import tempfile
import time
from functools import partial
from pathlib import Path

import torch
from torch import nn

from transferlab.cache.packing import UncacheableError
from transferlab.cache.store import CacheError, Store
from transferlab.errors import DivergedError, InputError
from transferlab.flops import operations
from transferlab.probing.features import Features, end, features, tested
from transferlab.probing.seat import Seat
from transferlab.scoring import Scored
from transferlab.solver import LBFGS
from transferlab.tasks.regression import InUnit
from transferlab.training import Run


def solve(run: Run, solver: LBFGS) -> Scored:
    """Solve for the head at each penalty; what each gives is the run's history, from which one is selected.

    Args:
        run: ready for its first step.
        solver: of its strategy.

    Returns:
        What scores the test split.

    Raises:
        InputError: the head is not linear, more than it is to train, or features change from look to look.
        DivergedError: the optimum lies nowhere finite.
    """
    began = time.perf_counter()
    _linear(run.module.head)
    seat = Seat(run, 1, len(solver.path))
    _check_head_alone(run)
    parts = kept_features(run)
    exact = copy.deepcopy(run.module.head).double()
    x, y = parts["target"].x.double(), parts["target"].y
    y = y.double() if y.is_floating_point() else y
    seat.start()
    asked = 0
    for number, penalty in enumerate(solver.path):
        seat.begin(number)
        asked += solver.solve(exact, _linear(exact).weight, run.module.task.loss, x, y, penalty)
        with torch.no_grad():
            loss = float(run.module.task.loss(exact(x), y))
            for own, found in zip(run.module.head.parameters(), exact.parameters(), strict=True):
                own.copy_(found)
        if not all(parameter.isfinite().all() for parameter in exact.parameters()):
            raise DivergedError(f"the optimum of penalty {penalty:g} is NaN or infinite")
        metrics = {"train/task_loss": loss, "train/penalty": penalty}
        end(seat, parts, metrics)
    run.watching.history.seconds = time.perf_counter() - began
    run.watching.history.samples = asked * len(y)
    run.watching.flops.sets = _operations(run, parts["target"], exact, asked)
    seat.tell()
    return partial(tested, run, parts)


def _check_head_alone(run: Run) -> None:
    module, epochs = run.module, range(int(run.trainer.max_epochs or 1))
    strategy = module.strategy
    more = strategy.beyond_head
    if more is None and any(strategy.trainable(module.stages, epoch) != {"head"} for epoch in epochs):
        more = "more than the head trains"
    if more is not None:
        raise InputError(f"strategy.solver solves for a head alone, and here {more}: choose strategy=linear_probe")


def kept_features(run: Run) -> dict[str, Features]:
    """Those of a run that has a `Seat`, from the cache; where that is off, from one that is thrown away.

    Raises:
        InputError: they change from look to look, or the cache cannot be used.
    """
    cache = run.watching.cache
    try:
        if cache.settings.use != "off":
            return features(run)
        with tempfile.TemporaryDirectory() as folder:
            cache.store = Store(Path(folder), cache.settings.gigabytes, wait=True)
            return features(run)
    except UncacheableError as error:
        raise InputError(f"strategy.solver reads features that are kept by sample, and {error}") from error
    except CacheError as error:
        raise InputError(f"strategy.solver reads features from the cache, which cannot be used: {error}") from error


def _linear(head: nn.Module) -> nn.Linear:
    """Of a head, the layer that is solved for."""
    found = head.head if isinstance(head, InUnit) else head
    if not isinstance(found, nn.Linear):
        raise InputError(f"strategy.solver wants a linear head, and this is {type(found).__name__}: task/head=linear")
    return found


def _operations(run: Run, part: Features, head: nn.Module, asked: int) -> dict[str, dict[str, int]]:
    """Those of the features, once, and of the head's passes, forward and backward."""
    with torch.enable_grad():
        _, once = operations(lambda: run.module.task.loss(head(part.x.double()), part.y).backward())  # type: ignore[no-untyped-call]
    samples = len(part.y)
    return {
        "": {"step": int(part.flops * samples), "batch": samples, "samples": samples},
        "head": {"step": once, "batch": samples, "samples": samples * asked},
    }
