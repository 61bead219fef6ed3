"""The fit of a run that trains no net: a classifier on features that are adapted to the target, a row in all."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from transferlab.errors import InputError
from transferlab.probing.features import Features, end, tested
from transferlab.probing.seat import Seat
from transferlab.probing.solving import kept_features
from transferlab.scoring import Scored
from transferlab.shallow.adapting import Array
from transferlab.shallow.solver import Shallow
from transferlab.tasks.classification import Classification
from transferlab.training import Run


def adapt(run: Run, solver: Shallow) -> Scored:
    """Adapt the source's features to the target's, and have a classifier on them answer in the head's place.

    Net and head stay as they are, and so they are saved: the classifier itself is not kept, what it scored is.

    Args:
        run: ready for its first step.
        solver: of its strategy.

    Returns:
        What scores the test split.

    Raises:
        InputError: another task than classification, or something that looks at the net's own head.
    """
    began = time.perf_counter()
    _check(run)
    module, history = run.module, run.watching.history
    seat = Seat(run, 1, 1)
    parts = kept_features(run)
    source, target = parts["source"], parts["unlabeled"]
    seat.start()
    seat.begin(0)
    fitted = solver.fit(_array(source), source.y.cpu().numpy(), _array(target), run.parts.classes, run.config.seed)
    loss = module.task.loss(torch.from_numpy(fitted.source), torch.from_numpy(fitted.y))
    chosen = {} if fitted.C is None else {"train/C": fitted.C}
    with _answering(module.head, fitted.target):
        end(seat, parts, {"train/task_loss": float(loss), **chosen})
    history.rows[-1]["trainable"] = []
    history.trained.clear()
    history.seconds, history.samples = time.perf_counter() - began, len(target.y)
    passed = len(source.y) + len(target.y)
    run.watching.flops.sets = {"": {"step": int(target.flops * passed), "batch": passed, "samples": passed}}
    seat.tell()

    def scored() -> dict[str, float]:
        with _answering(module.head, fitted.target):
            return tested(run, parts)

    return scored


def _check(run: Run) -> None:
    if not isinstance(run.module.task, Classification):
        raise InputError("strategy.solver tells one class out of several: task=classification")
    if run.watching.appraiser.unseen:
        raise InputError(
            "strategy.solver gives one row, of which there is nothing to select: selection=last rules=none"
        )
    if run.diagnostics.samples:
        raise InputError("strategy.solver's classifier has no gradients to picture: diagnostics.saliency.samples=[]")


def _array(part: Features) -> Array:
    found: Array = part.x.double().cpu().numpy()
    return found


@contextmanager
def _answering(head: nn.Module, target: Callable[[Array], Array]) -> Iterator[None]:
    """Within, a head gives what a classifier makes of its features."""

    def answer(_: nn.Module, given: tuple[Any, ...], out: Tensor) -> Tensor:
        (x,) = given
        return torch.from_numpy(target(x.double().cpu().numpy())).to(out)

    handle = head.register_forward_hook(answer)
    try:
        yield
    finally:
        handle.remove()
