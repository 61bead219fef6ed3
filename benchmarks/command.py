"""The real command within this process, and what is noted while it works."""

import json
import sys
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
