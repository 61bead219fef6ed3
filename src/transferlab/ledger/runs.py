"""The runs of a study as its folder tells of them: their records, their locks, and the plans of its commands."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from transferlab import results
from transferlab.errors import InputError
from transferlab.ledger import plans
from transferlab.pulse import Sign, is_running, sign
from transferlab.record import of_axes
from transferlab.results import Record

OVER = ("finished", "diverged")
PRUNED = "pruned"
"""Broken off by a search, for which it is over; a command that asks for the run itself runs it."""
LEFT = ("failed", "interrupted", "missing")
"""What is to be run again, or for the first time."""
STATES = (*OVER, PRUNED, "running", *LEFT, "unreadable")
_AT_ONCE = 16
"""Records that are read at once: a shared file system lets each wait, and several no longer than one."""


@dataclass(frozen=True)
class Entry:
    """A run as the ledger has it.

    Attributes:
        folder: where it lies, or is to lie.
        state: one of `STATES`.
        reason: of a state that nobody wished for, in one line.
        axes: as in its record; empty: nothing is known of it.
        words: its overrides.
        varied: those of them in which it differs from the other runs of its command.
        seconds: that it took; None: it has not finished.
        sign: of life, of a run that is going on or was killed.
    """

    folder: Path
    state: str
    reason: str = ""
    axes: Mapping[str, Any] | None = None
    words: Sequence[str] = ()
    varied: Sequence[str] = ()
    seconds: float | None = None
    sign: Sign | None = None

    @property
    def title(self) -> str:
        """In a few words: axes, and what else was varied."""
        if not self.axes:
            return "-"
        more = [word for word in self.varied if word.partition("=")[0] not in self.axes]
        return " ".join([of_axes(self.axes), *more])


class Ledger:
    """The runs of a study, each record opened once a look.

    Args:
        study: its folder.
        again: whether it is looked at again and again; records of runs that are over are then read once.
    """

    def __init__(self, study: Path, again: bool = False) -> None:
        self.study, self.again = study, again
        self._over: dict[str, tuple[int, Entry]] = {}

    def look(self, also: Iterable[plans.Planned] = ()) -> list[Entry]:
        """Every run, those that are missing too.

        Args:
            also: what a command is about to ask for, whatever the plans say.

        Raises:
            InputError: the folder has gone.
        """
        planned = (run for command in plans.read(self.study) for run in command.runs)
        asked = {run.folder.name: run for run in (*planned, *also)}
        try:
            with os.scandir(self.study) as inside:
                names = sorted(one.name for one in inside if one.is_dir() and one.name != plans.FOLDER)
        except OSError as error:
            raise InputError(f"the study's folder {self.study} cannot be read: {error.strerror}") from error
        found = self._entries(names, asked)
        missing = [missed(run) for name, run in asked.items() if name not in found]
        return [*(found[name] for name in names if name in found), *missing]

    def _entries(self, names: Sequence[str], asked: Mapping[str, plans.Planned]) -> dict[str, Entry]:
        def read(part: Sequence[str]) -> dict[str, Entry]:
            entries = ((name, self._entry(name, asked.get(name))) for name in part)
            return {name: entry for name, entry in entries if entry is not None}

        parts = [names[first::_AT_ONCE] for first in range(min(_AT_ONCE, len(names)))]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return dict(chain.from_iterable(part.items() for part in pool.map(read, parts)))

    def _entry(self, name: str, asked: plans.Planned | None) -> Entry | None:
        folder = self.study / name
        if not self.again:
            return entry(folder, asked)
        try:
            changed = os.stat(folder / "run.json").st_mtime_ns
        except OSError:
            changed = 0
        before = self._over.get(name)
        if before is not None and before[0] == changed:
            return before[1]
        found = entry(folder, asked)
        if found is not None and found.state in OVER:
            self._over[name] = changed, found
        return found


def entry(folder: Path, asked: plans.Planned | None = None) -> Entry | None:
    """The run in a folder; None where none ever began.

    Args:
        folder: of the run.
        asked: what a plan says of it.
    """
    about: dict[str, Any] = {} if asked is None else {"axes": asked.axes, "words": asked.words, "varied": asked.varied}
    try:
        record = results.read(folder)
    except InputError as error:
        return Entry(folder, "unreadable", str(error), **about)
    if record is None and not any((folder / name).exists() for name in (results.LOCK, "config.yaml", "run.json")):
        return None
    state, reason = _said(record)
    if record is not None:
        about = {"varied": (), **about, "axes": record["axes"], "words": record["overrides"]}
    if state in OVER:
        return Entry(folder, state, reason, **about, seconds=_seconds(record) if state == "finished" else None)
    last = sign(folder)
    if is_running(folder / results.LOCK, last):
        state, reason = "running", ""
    return Entry(folder, state, reason, **about, sign=last)


def missed(run: plans.Planned) -> Entry:
    """A run that a plan has and that never began."""
    return Entry(run.folder, "missing", "", run.axes, run.words, run.varied)


def counted(entries: Iterable[Entry]) -> dict[str, int]:
    """How many there are of each state that there is."""
    counts = Counter(entry.state for entry in entries)
    return {state: counts[state] for state in STATES if counts[state]}


def _said(record: Record | None) -> tuple[str, str]:
    """Status and first line of the reason."""
    if record is None:
        return "interrupted", "it has no record, or half of one"
    state = str(record.get("status"))
    if state not in results.STATUSES:
        return "unreadable", f"its status is {state}"
    lines = str(record.get("reason") or "").strip().splitlines()
    return state, lines[0] if lines else ""


def _seconds(record: Record | None) -> float | None:
    seconds = ((record or {}).get("cost") or {}).get("seconds")
    return float(seconds) if isinstance(seconds, (int, float)) else None
