"""`transferlab sync`: upload to W&B what the runs of a study logged offline, in order, each log once. No torch."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from transferlab import connection, parsers, results
from transferlab.compare.reading import find
from transferlab.errors import InputError
from transferlab.files import try_lock, writable
from transferlab.withheld import hidden

_LOCK = ".sync.lock"
# what W&B would take from a shell that trains
_OF_A_RUN = ("WANDB_MODE", "WANDB_RUN_ID", "WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH")


@dataclass(frozen=True)
class Options:
    """What is to be uploaded.

    Attributes:
        study: its name, or its folder; None: the only one under `runs`.
        runs: where studies lie.
        timeout: seconds that the upload of one log may take.
    """

    study: str | None
    runs: Path
    timeout: float


def options(words: Sequence[str]) -> Options:
    """The options of a command line.

    Raises:
        InputError: no such flag or value.
    """
    parser = parsers.of("sync", "Upload what the runs of a study logged offline to W&B, each log once.")
    parsers.add_study(parser)
    told = "seconds that the upload of one log may take (default: 300)"
    parser.add_argument("--timeout", type=float, default=300.0, help=told)
    return Options(**vars(parser.parse_args(list(words))))


def sync(asked: Options) -> None:
    """Upload the logs of a study that are not uploaded, those begun first at first.

    Raises:
        InputError: no such study, no key, no server, or one that does not take a log in time.
    """
    (study,) = find([asked.study] if asked.study else [], asked.runs)
    study = Path(study)
    with writable(study):
        lock = FileLock(study / _LOCK)
        if not try_lock(lock):
            raise InputError(f"another process uploads {study} already")
    try:
        _sync(study, asked.timeout)
    finally:
        lock.release()


def _sync(study: Path, timeout: float) -> None:
    every = logs(study)
    left = [log for log in every if not is_uploaded(log)]
    print(f"{study}: {len(every)} offline logs, {len(every) - len(left)} of them uploaded before", file=sys.stderr)
    if left:
        _check_server()
    later = 0
    for number, log in enumerate(left, start=1):
        run = _run_of(log)
        with results.held(run, None) as held:
            if not held:
                later += 1
                print(
                    f"[{number}/{len(left)}] {log.parent.name}: its run is under way, left for later", file=sys.stderr
                )
                continue
            upload(log, timeout)
        print(f"[{number}/{len(left)}] {log.parent.name}: uploaded", file=sys.stderr)
    print(f"{len(left) - later} logs uploaded" + (f", {later} left for later" if later else ""), file=sys.stderr)


def logs(study: Path) -> list[Path]:
    """W&B's offline logs of a study's runs, several of a run that was interrupted, in the order they were begun."""
    found = [
        log
        for record in study.glob("*/run.json")
        for log in record.parent.glob("wandb/offline-run-*/*.wandb")
        if not log.parent.is_symlink()
    ]
    return sorted(found, key=lambda log: (log.parent.name.split("-")[2], log.stat().st_mtime, log.name))


def is_uploaded(log: Path) -> bool:
    """Whether W&B has marked it so."""
    return log.with_name(f"{log.name}.synced").exists()


def upload(log: Path, timeout: float) -> None:
    """Upload one log by W&B's own command, which marks it.

    Raises:
        InputError: it was not marked, or not in time.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _OF_A_RUN}
    command = [sys.executable, "-m", "wandb", "sync", str(log.parent.resolve())]
    again = "the same command goes on from there"
    # a session of its own: W&B's helper goes with it
    with subprocess.Popen(
        command,
        env={**environment, "WANDB_ERROR_REPORTING": "false"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            said, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired as error:
            raise InputError(f"W&B did not take {log.parent} within {timeout:g} s (--timeout); {again}") from error
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
    if not is_uploaded(log):
        lines = [line for line in said.splitlines() if line.strip()]
        last = hidden(lines[-1].removeprefix("wandb: ").strip()) if lines else "it said nothing"
        raise InputError(f"W&B did not take {log.parent}: {last}; {again}")


def _run_of(log: Path) -> Path:
    """The folder of the run that wrote a log."""
    return log.parents[2]


def _check_server() -> None:
    """See that W&B can be reached, before its command waits for it.

    Raises:
        InputError: no key, or no answer.
    """
    server = connection.address()
    if not connection.has_key(server):
        raise InputError(f"no W&B key is set for {server}: run `wandb login`, or set WANDB_API_KEY")
    if not connection.answers(server, 10.0):
        raise InputError(f"the W&B server {server} does not answer: the same command uploads once it does")
