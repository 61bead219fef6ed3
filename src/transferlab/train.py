"""One run, from a config to a record: prepared, fitted or solved, measured, written down."""

import time
from contextlib import suppress
from pathlib import Path

from omegaconf import DictConfig

from transferlab import agent, automatic, building, recording, results
from transferlab.environment import environment, quiet
from transferlab.errors import InputError, PausedError
from transferlab.fitting import fit
from transferlab.preparing import prepared
from transferlab.probing.adapting import adapt
from transferlab.probing.solving import solve
from transferlab.processes import joining
from transferlab.processes.base import Company
from transferlab.processes.outside import Outside
from transferlab.record import begin, title
from transferlab.results import Record
from transferlab.retelling import retell
from transferlab.solver import LBFGS
from transferlab.tracking import NoTracker
from transferlab.training import Run
from transferlab.trust import check_located_targets


def run(config: DictConfig) -> Record:
    """Do one run, or find it done: what is finished or diverged is returned, what was interrupted goes on.

    With `pause_at` it is left `interrupted` after so many epochs.

    Raises:
        InputError: something the user can mend; the record then says `failed` and why.
        DivergedError: the loss became NaN or infinite; the record says `diverged`.
        PrunedError: a search breaks it off; the record says `pruned`.
    """
    check_located_targets(config)
    quiet()
    pause_at = _pause_at(config)
    folder = results.folder(config)
    with joining.company(config.trainer, folder, beside) as company:
        if isinstance(company, Outside) and not company.is_first:
            return _served(company, folder)
        return _written(config, folder, company, pause_at)


def _written(config: DictConfig, folder: Path, company: Company, pause_at: int | None) -> Record:
    """The run, by the process that writes of it."""
    with results.held(folder, f"waiting for another process that does {title(config)} ({folder})") as pulse:
        assert pulse is not None
        record = results.read(folder)
        if record is not None and results.is_over(record):
            retell(config, folder, record)
            return record
        tracker, record = recording.begun(config, folder, pulse)
        results.write_config(folder, record["config"])
        results.write(folder, record)
        with suppress(PausedError), recording.until_end(config, folder, tracker, record):
            taken, searched = _chosen(config, record)
            ready = prepared(taken, folder, tracker, record, run, company=company)
            record["cost"]["seconds"] += searched
            ready.trainer.logger = tracker.start(ready.card())
            _carry_out(ready, company, pause_at)
        return record


def _carry_out(ready: Run, company: Company, pause_at: int | None) -> None:
    """Train, or solve, and measure.

    Args:
        ready: the run.
        company: other processes that train in it.
        pause_at: epochs after which it pauses; None: it goes to its end.

    Raises:
        PausedError: it pauses.
    """
    scored, solver = None, ready.module.strategy.solver
    try:
        if solver is None:
            if company.environment is not None:
                company.call(joining.bare(ready.config, pause_at), ready.folder)
            with company.together():
                ended = _fitted(ready, pause_at)
            if not ended:
                raise PausedError.after(pause_at, ready.trainer.max_epochs)
        else:
            scored = solve(ready, solver) if isinstance(solver, LBFGS) else adapt(ready, solver)
    finally:
        ready.fitted()
    ready.trainer = building.alone(ready.config, ready.trainer, ready.watching.callbacks)
    ready.settle(scored)


def _fitted(ready: Run, pause_at: int | None) -> bool:
    """Whether the fit, begun or resumed, came to its end."""
    return fit(ready.trainer, ready.module, ready.data, ready.folder / results.RESUME, ready.title, pause_at)


def beside(config: DictConfig, folder: Path, company: Company) -> None:
    """Train in a run that another process writes of."""
    quiet()
    pause_at = _pause_at(config)
    record = begin(config, folder, environment(config.trainer.accelerator))
    with recording.computing(config, record):
        ready = prepared(config, folder, NoTracker(), record, run, company=company)
        with company.together():
            _fitted(ready, pause_at)


def _served(company: Outside, folder: Path) -> Record:
    """What the first process made of a run.

    Raises:
        InputError: it made nothing of it.
    """
    record = results.read(folder)
    if not results.is_over(record):
        company.serve(folder, beside)
        record = results.read(folder)
    if record is None:
        raise InputError(f"the first process wrote nothing of {folder}: its message says why")
    return record


def _pause_at(config: DictConfig) -> int | None:
    """After how many epochs the run pauses, which its own config does not say.

    Raises:
        InputError: before it began.
    """
    asked = config.get("pause_at")
    if asked is None:
        return None
    if not isinstance(asked, int) or asked < 1:
        raise InputError(f"pause_at={asked}: a number of epochs, or null to train to the end")
    config.pause_at = None
    return asked


def _chosen(config: DictConfig, record: Record) -> tuple[DictConfig, float]:
    """The config, with the strategy that is chosen where that is left to a search.

    Returns:
        And the seconds of the search that the run's own clock does not count, as others may have done part of it.
    """
    if not automatic.is_asked(config):
        return config, 0.0
    before = time.perf_counter()
    with agent.away():
        taken = automatic.taken(config, record, run)
    return taken, record["chosen"]["seconds"] - (time.perf_counter() - before)
