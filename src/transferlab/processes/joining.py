"""In whose company a run is done."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from omegaconf import DictConfig, open_dict

from transferlab.errors import InputError
from transferlab.expanding import settled
from transferlab.processes.base import Alone, Company, Work
from transferlab.processes.counting import count, outside
from transferlab.processes.outside import Outside
from transferlab.processes.started import Started

_now: list[Started] = []


@contextmanager
def company(trainer: DictConfig, folder: Path, work: Work) -> Iterator[Company]:
    """Those that a run's trainer asks for: who is there, or who will be started.

    A run within a run, as a source's own is, has the same company where it asks for as many.

    Args:
        trainer: of the run.
        folder: of the run.
        work: what processes beside the first do of a run.

    Raises:
        InputError: what it asks for cannot be.
    """
    processes = count(trainer)
    if processes == 1:
        yield Alone()
    elif (environment := outside(processes)) is not None:
        found = Outside(environment)
        try:
            yield found
        finally:
            if found.is_first:
                found.over(folder)
    elif int(trainer.get("num_nodes") or 1) > 1:
        raise InputError(f"trainer.num_nodes={trainer.num_nodes}: have srun or torchrun start the processes")
    elif _now and _now[-1].size == processes:
        yield _now[-1]
    else:
        _now.append(Started(processes, work))
        try:
            yield _now[-1]
        finally:
            _now.pop().end()


def bare(config: DictConfig, pause_at: int | None) -> DictConfig:
    """The config of a run as a process beside the first has it: without what only looks on and selects.

    Args:
        config: of the run.
        pause_at: epochs after which all of them stop; None: they do not.
    """
    found = settled(copy.deepcopy(config))
    with open_dict(found):
        for key in ("diagnostics", "rules"):
            found.pop(key, None)
        found.oracle, found.pause_at = False, pause_at
        found.selection = {"_target_": "transferlab.selection.rules.last", "_partial_": True}
    return found
