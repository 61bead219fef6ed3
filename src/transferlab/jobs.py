"""The jobs of a command: Hydra composes them one by one, each is skipped or trained, and says so in a line."""

import argparse
import gc
import importlib
import logging
import os
from collections.abc import Iterable
from pathlib import Path

from omegaconf import DictConfig

from transferlab.errors import DivergedError, InputError, PrunedError, plain
from transferlab.expanding import completed, settled
from transferlab.folders import shipped
from transferlab.progress import Pace
from transferlab.results import Record
from transferlab.withheld import hidden

_log = logging.getLogger("transferlab")
_pace = Pace()
_failures: list[Exception] = []
_loaded = _tidied = False
_ahead: dict[Path, Record | Exception] = {}  # runs that a launcher trained before their jobs
_SELDOM = 10_000  # objects between two looks for garbage, which `tidy` takes away after each run
_AGAIN = {"failed": "trying again: %s failed before", "pruned": "beginning again: a search broke off %s before"}
_PARENT = "TRANSFERLAB_PARENT"  # the process that reports the failures of the jobs it ran itself


def sentence(error: BaseException) -> str:
    """An error in one line; what is no sentence of ours says its type, and how to see more."""
    if isinstance(error, (InputError, DivergedError)):
        return str(hidden(plain(error)))
    return str(hidden(f"{type(error).__name__}: {' '.join(str(error).split())} (--debug shows where)"))


def begin() -> None:
    """Forget what is left of an earlier command of this process."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # hands us the exception itself; `main` makes a sentence of it
    os.environ[_PARENT] = str(os.getpid())
    _failures.clear()
    _ahead.clear()


def load() -> None:
    """Import what runs are made of, once a process; what it brings is there to stay, and never looked at as garbage."""
    global _loaded
    if _loaded:
        return
    young, middle, old = gc.get_threshold()
    gc.set_threshold(young, middle, 1_000_000)  # whole collections in between take a third of the time
    try:
        importlib.import_module("transferlab.train")
    finally:
        gc.set_threshold(_SELDOM, middle, old)
    gc.freeze()
    _loaded = True


def tidy() -> None:
    """Let go of a run that is over, whose net and trainer know each other; what the first brought is there to stay."""
    global _tidied
    if _tidied:
        gc.collect(1)  # Hydra keeps what it made of each job: to look at all of that every time would take longer
        return
    gc.collect()
    gc.freeze()
    _tidied = True


def elsewhere() -> None:
    """Leave it to the process that started the sweep to report what fails here."""
    os.environ[_PARENT] = ""


def show(args: argparse.Namespace) -> None:
    """Hand a command line that runs nothing to Hydra: its help, a config, what it knows of itself."""
    from hydra import version
    from hydra._internal.utils import _run_hydra, get_args_parser

    version.setbase("1.3")
    _run_hydra(
        args=argparse.Namespace(**vars(args)),  # a copy: Hydra writes into it
        args_parser=get_args_parser(),
        task_function=job,
        config_path=str(shipped("conf")),
        config_name="train",
    )


def end() -> None:
    """Raise what failed since `begin`, the others having run nevertheless."""
    if len(_failures) > 1:
        raise InputError(f"{len(_failures)} jobs failed, the first with: {sentence(_failures[0])}")
    if _failures:
        raise _failures[0]


def ahead(configs: Iterable[DictConfig]) -> None:
    """Train together what of the jobs to come can be; `job` then finds it done.

    Args:
        configs: of the jobs; each is looked at before the next is asked for.
    """
    from transferlab.together.training import together

    _ahead.update(together(map(completed, configs)))


def job(config: DictConfig) -> float | None:
    """One job of Hydra's: skip what is done, else train; one line either way, and our own search is told how it ended.

    Returns:
        The selected epoch's validation score, for other sweepers that search.
    """
    from transferlab import results
    from transferlab.search import trials

    settled(completed(config))
    try:
        return _done(config)
    finally:
        if trials.is_one():
            from transferlab.pruning import tell

            tell(config, results.read(results.folder(config)))


def _done(config: DictConfig) -> float | None:
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from transferlab import agent, checks, results
    from transferlab.record import title
    from transferlab.search import trials

    multirun = HydraConfig.get().mode == RunMode.MULTIRUN
    number = int(HydraConfig.get().job.num) if multirun else 0
    folder = results.folder(config)
    before, ahead = results.read(folder), _ahead.pop(folder, None)
    if ahead is None and before is not None and (results.is_over(before) or trials.broke_off(before)):
        if agent.is_there():
            from transferlab.retelling import retell

            retell(config, folder, before)
        _log.info("%s", _pace.line(number, f"{before['status']} before, skipped: {title(config)} ({folder})"))
        return _score(before, config.task.metric)
    if ahead is None and before is not None:
        _log.info(_AGAIN.get(before["status"], "going on: %s did not end before"), title(config))
    _pace.start()
    try:
        if multirun:
            checks.launched_again(config.trainer)
        if isinstance(ahead, Exception):
            raise ahead
        load()
        from transferlab.train import run

        record = ahead or run(config)
        tidy()
    except PrunedError as pruned:
        _pace.stop()
        _log.info("%s", _pace.line(number, f"{title(config)}: {pruned} ({folder})"))
        return None
    except Exception as error:
        if os.environ.get(_PARENT) != str(os.getpid()):
            raise  # in a worker process it is the launcher that carries it to the parent
        if multirun:
            failed(number, title(config), error)
        else:
            _failures.append(error)
        return None
    _pace.stop()
    _log.info("%s", _pace.line(number, f"{title(config)}: {_outcome(record, config.task.metric)} ({folder})"))
    return _score(record, config.task.metric)


def failed(number: int, what: str, error: Exception) -> None:
    """Say what ended a job of a multirun, and keep it for `end`.

    Args:
        number: of the job, from 0.
        what: the run in a few words.
        error: that ended it.
    """
    _log.error("%s", _pace.line(number, f"{what}: {sentence(error)}"))
    if not isinstance(error, DivergedError):
        _failures.append(error)


def _outcome(record: dict[str, object], metric: str) -> str:
    metrics, cost = record["metrics"], record["cost"]
    assert isinstance(metrics, dict) and isinstance(cost, dict)
    if (selected := metrics["selected"]) is None:  # it pauses, or another process ended it meanwhile
        return str(record["reason"] or record["status"])
    value = selected.get(f"test/{metric}")
    score = f"test/{metric} {'-' if value is None else format(value, '.4f')}"
    return f"{score} (epoch {selected['epoch']}), {cost['seconds']:.1f} s"


def _score(record: dict[str, object], metric: str) -> float | None:
    """What a sweeper that searches is told: the task's metric on the held-out labels."""
    metrics = record["metrics"]
    selected = metrics.get("selected") if isinstance(metrics, dict) else None
    return selected.get(f"val/{metric}") if isinstance(selected, dict) else None
