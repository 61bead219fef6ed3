"""Several runs at once: those of which a head alone trains, on the same machine, each with a record of its own."""

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from omegaconf import DictConfig

from transferlab import automatic, nodes, preparing, recording, results, train
from transferlab.cache.packing import UncacheableError
from transferlab.cache.store import CacheError
from transferlab.environment import quiet
from transferlab.errors import DivergedError, plain
from transferlab.probing.features import Known, features, tested
from transferlab.probing.seat import Seat
from transferlab.record import title
from transferlab.results import Record
from transferlab.strategy import Strategy
from transferlab.together.choosing import apart, apart_by_padding, apart_by_strategy, form, steps
from transferlab.together.fitting import Fitting, apart_by_steps, fit
from transferlab.training import Run
from transferlab.trust import check_located_targets

_log = logging.getLogger(__name__)
_MOST = 1e9
"""Bytes of the features of runs that are trained together, at most."""


@dataclass
class Member:
    """A run that trains with others.

    Attributes:
        fitting: of the run.
        form: what it has in common with those that it may train with.
        seconds: that it alone took so far.
        held: its folder.
    """

    fitting: Fitting
    form: str
    seconds: float
    held: ExitStack

    @property
    def run(self) -> Run:
        """The run."""
        return self.fitting.seat.run


def together(configs: Iterable[DictConfig]) -> dict[Path, Record | Exception]:
    """Train those of several runs that can be trained together.

    Args:
        configs: of the runs.

    Returns:
        By folder: the record, or the exception that ended the run. What is not there is to be trained by itself.
    """
    quiet()
    common, known = preparing.Common(), Known()
    refused: dict[str, str | None] = {}
    forms: dict[str, list[Member]] = {}
    ended: dict[Path, Record | Exception] = {}
    reasons: dict[str, list[str]] = {}
    with ExitStack() as everything:
        for config in configs:
            found = _member(config, common, known, refused, everything)
            if isinstance(found, str):
                reasons.setdefault(found, []).append(title(config))
            elif found is not None:
                forms.setdefault(found.form, []).append(found)
        for members in forms.values():
            for chunk in _chunks(members):
                if len(chunk) == 1:
                    reasons.setdefault("no other run is like it", []).append(chunk[0].run.title)
                    chunk[0].held.close()
                    continue
                try:
                    ended |= _trained(chunk)
                except Exception as error:
                    reason = f"their fit failed ({type(error).__name__}: {plain(error)})"
                    reasons.setdefault(reason, []).extend(one.run.title for one in chunk)
                    for one in chunk:
                        one.held.close()
    for reason, titles in reasons.items():
        more = f" and {len(titles) - 1} more" if len(titles) > 1 else ""
        _log.info("not together with others, as %s: %s%s", reason, titles[0], more)
    return ended


def _member(
    config: DictConfig,
    common: preparing.Common,
    known: Known,
    refused: dict[str, str | None],
    everything: ExitStack,
) -> Member | str | None:
    """A run that is ready, or why it is to be trained alone; None: its job will say what there is to say.

    Args:
        config: of the run.
        common: to the runs before it too.
        known: from them.
        refused: of each form so far, why steps of it cannot be batched; None: they can.
        everything: that is held.
    """
    began = time.perf_counter()
    folder = results.folder(config)
    if results.is_over(results.read(folder)):
        return None
    if config.get("pause_at") is not None:
        return "it pauses"
    if automatic.is_asked(config):
        return "its strategy is chosen first"
    held = everything.enter_context(ExitStack())
    try:
        check_located_targets(config)
        strategy: Strategy = nodes.build(config.strategy)
        if reason := apart_by_strategy(strategy, int(config.trainer.max_epochs or 1)):
            return reason
        if (pulse := held.enter_context(results.held(folder, None))) is None:
            return None
        tracker, record = recording.begun(config, folder, pulse)
        with recording.computing(config, record):
            run = preparing.prepared(config, folder, tracker, record, train.run, common)
            if reason := apart(run):
                held.close()
                return reason
            seat = Seat(run, steps(run))
            fitting, alike = Fitting(seat, features(run, known)), form(run, seat)
            if alike not in refused:
                refused[alike] = apart_by_steps(fitting)
            if reason := apart_by_padding(run) or refused[alike]:
                held.close()
                return reason
    except (UncacheableError, CacheError) as error:
        held.close()
        return str(error)
    except Exception as error:  # its job will meet it again, and fail alone
        held.close()
        return f"it fails ({type(error).__name__}: {plain(error)})"
    return Member(fitting, alike, time.perf_counter() - began, held)


def _chunks(members: Sequence[Member]) -> Iterator[Sequence[Member]]:
    """As many at a time as there is room for, those that have the same features beside one another."""
    alike = sorted(members, key=lambda one: id(one.fitting.parts["target"].x))
    chunk: list[Member] = []
    held: dict[int, int] = {}
    for one in alike:
        x = one.fitting.parts["target"].x
        if chunk and id(x) not in held and sum(held.values()) + x.nbytes > _MOST:
            yield chunk
            chunk, held = [], {}
        chunk.append(one)
        held[id(x)] = x.nbytes
    yield chunk


def _trained(members: Sequence[Member]) -> dict[Path, Record | Exception]:
    began = time.perf_counter()
    _log.info("%d runs together: %s and others", len(members), members[0].run.title)
    for one in members:
        one.run.watching.keep.in_memory = True
        results.write_config(one.run.folder, one.run.record["config"])
        results.write(one.run.folder, one.run.record)
    with recording.computing(members[0].run.config, members[0].run.record):
        fit([one.fitting for one in members])
    each = (time.perf_counter() - began) / len(members)
    ended: dict[Path, Record | Exception] = {}
    for one in members:
        with one.held:
            one.seconds += each
            one.run.record["environment"]["runtime"]["together"] = len(members)
            ended[one.run.folder] = _settled(one)
    return ended


def _settled(one: Member) -> Record | Exception:
    run, seat = one.run, one.fitting.seat
    try:
        with recording.until_end(run.config, run.folder, run.tracker, run.record):
            run.record["cost"]["seconds"] += one.seconds
            run.fitted()
            run.trainer.logger = run.tracker.start(run.card())
            seat.tell()
            if one.fitting.error is not None:
                raise one.fitting.error
            if not all(tensor.isfinite().all() for tensor in run.module.head.state_dict().values()):
                raise DivergedError.at_last()
            run.settle(partial(tested, run, one.fitting.parts))
    except Exception as error:
        return error
    return run.record
