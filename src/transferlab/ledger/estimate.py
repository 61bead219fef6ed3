"""How long runs will take, by what finished ones took."""

import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from transferlab.ledger.runs import OVER, PRUNED, Entry, Ledger
from transferlab.results import CANDIDATES, PRETRAINING

_AXES = ("source", "target", "strategy", "backbone")
# They change how long a run takes little or not at all.
_BESIDE = ("seed", "study", "paths", "tracker", "twins", "pause_at")
SOURCES = {
    "words": "finished runs of this study that differ in the seed alone",
    "axes": "finished runs of this study with the same source, target, strategy and backbone",
    "elsewhere": "finished runs of other studies with the same source, target, strategy and backbone",
}
"""What an estimate is from, the nearest first."""


@dataclass(frozen=True)
class Estimate:
    """The work that is left.

    Attributes:
        seconds: of one process, for the runs of which something is known.
        counts: how many runs were estimated from each of `SOURCES`.
        unknown: how many runs nothing is known of.
        at_once: how many runs are going on.
    """

    seconds: float
    counts: Mapping[str, int]
    unknown: int
    at_once: int

    def lines(self) -> list[str]:
        """In sentences; none where nothing is left."""
        if not self.counts and not self.unknown:
            return []
        if not self.counts:
            return [f"time left: unknown, as no run with these axes has finished ({self.unknown} runs)"]
        said = f"time left: about {duration(self.seconds)} for one process"
        if self.at_once > 1:
            said += f", with {self.at_once} runs at a time about {duration(self.seconds / self.at_once)}"
        parts = [f"{count} by {SOURCES[source]}" for source, count in self.counts.items()]
        unknown = [f"{self.unknown} unknown and not counted"] if self.unknown else []
        return [said, f"  ({'; '.join([*parts, *unknown])})"]


def estimate(entries: Sequence[Entry], elsewhere: Callable[[], Iterable[Entry]]) -> Estimate:
    """The work that is left of runs.

    Args:
        entries: of a study, finished ones too.
        elsewhere: gives the entries of other studies; asked if this one does not know enough.
    """
    own = {"words": _means(entries, _words), "axes": _means(entries, _axes)}
    seconds, counts, unknown = 0.0, dict.fromkeys(SOURCES, 0), 0
    other: dict[Hashable, float] | None = None
    for entry in (one for one in entries if one.state not in (*OVER, PRUNED, "unreadable")):
        source, took = "words", own["words"].get(_words(entry))
        if took is None:
            source, took = "axes", own["axes"].get(_axes(entry))
        if took is None:
            other = _means(elsewhere(), _axes) if other is None else other
            source, took = "elsewhere", other.get(_axes(entry))
        if took is None:
            unknown += 1
            continue
        counts[source] += 1
        seconds += max(took - _spent(entry), 0.0)
    running = sum(entry.state == "running" for entry in entries)
    return Estimate(seconds, {source: count for source, count in counts.items() if count}, unknown, running)


def others(study: Path) -> list[Entry]:
    """The runs of the studies that lie beside one."""
    folders = [
        folder for folder in sorted(study.parent.glob("*")) if folder.name not in (study.name, PRETRAINING, CANDIDATES)
    ]
    return [entry for folder in folders if folder.is_dir() for entry in Ledger(folder).look()]


def duration(seconds: float) -> str:
    """In hours, or in what is smaller where these are few."""
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.0f} s"


def _means(entries: Iterable[Entry], key: Callable[[Entry], Hashable]) -> dict[Hashable, float]:
    took: dict[Hashable, list[float]] = defaultdict(list)
    for entry in entries:
        if entry.seconds is not None:
            took[key(entry)].append(entry.seconds)
    return {name: fmean(seconds) for name, seconds in took.items() if name is not None}


def _axes(entry: Entry) -> Hashable:
    axes: Mapping[str, Any] = entry.axes or {}
    return tuple(str(axes[axis]) for axis in _AXES) if all(axis in axes for axis in _AXES) else None


def _words(entry: Entry) -> Hashable:
    kept = [word for word in entry.words if word.partition("=")[0].lstrip("+").split(".")[0] not in _BESIDE]
    return (_axes(entry), frozenset(kept)) if entry.axes else None


def _spent(entry: Entry) -> float:
    """Of a run that is going on, the seconds that it has taken by now."""
    if entry.state != "running" or entry.sign is None:
        return 0.0
    return max(time.time() - entry.sign.since, 0.0)
