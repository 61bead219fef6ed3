"""The real command within this process, and what is noted while it works."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import clock
from clock import worked

QUIET = ("diagnostics=none", "tracker=none", "trainer.accelerator=cpu")


def train(*words: str) -> None:
    """`transferlab train WORDS`; the process ends if it fails."""
    from transferlab import cli

    if cli.main(["train", *words]):
        sys.exit("the run failed")


def records(folder: str) -> list[dict]:
    """Of the finished runs of a study."""
    return [json.loads(file.read_text()) for file in sorted(Path(folder).glob("*/run.json"))]


def timed(place, name: str, counted=lambda given: 1) -> tuple[list[int], list[float]]:
    """Of every call of a function from now on, what it counts for and its seconds without imports."""
    counts: list[int] = []
    seconds: list[float] = []
    function = getattr(place, name)

    def wrapped(*given):
        began = worked()
        try:
            return function(*given)
        finally:
            counts.append(counted(given))
            seconds.append(worked() - began)

    setattr(place, name, wrapped)
    return counts, seconds


def of_data_and_fit(*more) -> Callable[[], float]:
    """Seconds of all runs from now on, without imports and without what a peer has before its clock begins: its net.

    Args:
        more: places and names of functions in which runs are trained too.

    Returns:
        What says how many so far.
    """
    from transferlab import building, train
    from transferlab.backbones import weights

    spent = [timed(place, name)[1] for place, name in ((train, "run"), *more)]
    nets = [timed(place, name)[1] for place, name in ((building, "net"), (weights, "load"))]
    return lambda: sum(map(sum, spent)) - sum(map(sum, nets))


def steps(now=clock.now) -> list[float]:
    """When each training step of the runs from now on began."""
    from transferlab.module import TransferModule

    stamps: list[float] = []
    step = TransferModule.training_step

    def noted(*given):
        stamps.append(now())
        return step(*given)

    TransferModule.training_step = noted  # type: ignore[method-assign]
    return stamps
