"""The runs of a study as its folder tells of them: their records, their locks, and the plans of its commands."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transferlab import results
from transferlab.errors import InputError
from transferlab.ledger import plans
from transferlab.pulse import Sign, is_running, sign
from transferlab.record import of_axes
from transferlab.results import Record

OVER = ("finished", "diverged")
LEFT = ("failed", "interrupted", "missing")
"""What is to be run again, or for the first time."""
STATES = (*OVER, "running", *LEFT, "unreadable")


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
    """The runs of a study, looked at as often as one likes; a record that is there already is read once.

    Args:
        study: its folder.
    """

    def __init__(self, study: Path) -> None:
        self.study = study
        self._over: dict[str, tuple[int, Entry]] = {}

    def look(self) -> list[Entry]:
        """Every run, those that are missing too.

        Raises:
            InputError: the folder has gone.
        """
        asked = {run.folder.name: run for command in plans.read(self.study) for run in command.runs}
        try:
            with os.scandir(self.study) as inside:
                names = sorted(one.name for one in inside if one.is_dir() and one.name != plans.FOLDER)
        except OSError as error:
            raise InputError(f"the study's folder {self.study} cannot be read: {error.strerror}") from error
        found = {name: entry for name in names if (entry := self._entry(name, asked.get(name))) is not None}
        missing = [missed(run) for name, run in asked.items() if name not in found]
        return [*found.values(), *missing]

    def _entry(self, name: str, asked: plans.Planned | None) -> Entry | None:
        folder = self.study / name
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
