"""A run's record while it runs: how it begins, how the machine is used, how it ends."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from omegaconf import DictConfig

from transferlab import nodes, results, runtime
from transferlab.cache import contents
from transferlab.environment import environment, peak_memory
from transferlab.errors import DivergedError, PausedError, PrunedError, plain
from transferlab.processes import counting
from transferlab.pulse import Pulse
from transferlab.record import begin, summary
from transferlab.results import Record
from transferlab.tracking import Tracker


def begun(config: DictConfig, folder: Path, pulse: Pulse) -> tuple[Tracker, Record]:
    """A tracker and a record for a run that begins now, whose sign of life tells of its epochs."""
    tracker: Tracker = nodes.build(config.tracker)
    processes = {"processes": counting.count(config.trainer)}
    record = begin(config, folder, environment(config.trainer.accelerator) | processes)
    pulse.follow(record, config.trainer.max_epochs)
    return tracker, record


@contextmanager
def until_end(config: DictConfig, folder: Path, tracker: Tracker, record: Record) -> Iterator[None]:
    """How the run ends, in its record, which until then says `interrupted`."""
    started = time.perf_counter()
    status, reason = "interrupted", "stopped from outside"
    try:
        with computing(config, record):
            yield
        status, reason = "finished", ""
    except PausedError as pause:
        reason = str(pause)
        raise
    except (DivergedError, PrunedError) as error:
        status, reason = "diverged" if isinstance(error, DivergedError) else "pruned", str(error)
        for file in results.PASSING:
            (folder / file).unlink(missing_ok=True)
        raise
    except Exception as error:
        status, reason = "failed", f"{type(error).__name__}: {plain(error)}"
        raise
    finally:
        record.update(status=status, reason=reason, tracker=dict(tracker.describe()))
        record["cost"]["seconds"] = round(record["cost"]["seconds"] + time.perf_counter() - started, 3)
        record["cost"]["peak_memory_bytes"] = peak_memory()
        try:
            results.write(folder, record)
        finally:
            tracker.finish(summary(record), status)


@contextmanager
def computing(config: DictConfig, record: Record) -> Iterator[None]:
    """Within, the machine is used as the run's trainer says, the record says how, and files are known as it asks."""
    cache = config.get("cache")
    known = Path(config.paths.cache) if cache is not None and cache.use != "off" and cache.files else None
    processes = counting.on_this_machine(config.trainer)
    with runtime.threads(config.trainer.threads, processes) as threads, runtime.unfilled(), contents.kept(known):
        kept = runtime.allocator(config.trainer.allocator)
        runtime.without_accelerators()
        record["environment"]["threads"] = threads
        record["environment"].setdefault("runtime", {}).update(threads=threads, allocator=kept)
        yield
