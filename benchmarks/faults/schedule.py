"""When something is killed, and which processes stay too long."""

import random
import time
from dataclasses import dataclass, field

DELAY = 3.0
"""Seconds at most between the run that a kill waits for and the kill."""
LAST = 0.85
"""The share of runs that are finished by the last kill, so that the study does not end before it."""


@dataclass
class Plan:
    """Kills to come, each after so many finished runs and a while.

    Attributes:
        kills: how many runs are finished before it, how many seconds later, and of what kind.
        draw: for what is drawn on the way.
    """

    kills: list[tuple[int, float, str]]
    draw: random.Random
    _since: float | None = None

    def due(self, finished: int) -> str | None:
        """The kind of the kill that is due, if one is."""
        if not self.kills or finished < self.kills[0][0]:
            return None
        if self._since is None:
            self._since = time.monotonic()
        return self.kills[0][2] if time.monotonic() - self._since >= self.kills[0][1] else None

    def over(self) -> None:
        """The kill that was due is done."""
        self.kills.pop(0)
        self._since = None


def drawn(kills: int, runs: int, kinds: dict[str, int], seed: int) -> Plan:
    """A plan.

    Args:
        kills: how many.
        runs: of the study.
        kinds: with their weights.
        seed: of all that is drawn.
    """
    draw = random.Random(seed)
    after = sorted(draw.randrange(max(1, round(LAST * runs))) for _ in range(kills))
    chosen = draw.choices(list(kinds), list(kinds.values()), k=kills)
    return Plan([(count, draw.uniform(0, DELAY), kind) for count, kind in zip(after, chosen, strict=True)], draw)


@dataclass
class Strays:
    """Processes without a command, since they were first seen.

    Attributes:
        patience: seconds that they may have.
        old: those that had more.
    """

    patience: float
    old: set[tuple[int, float]] = field(default_factory=set)
    _first: dict[tuple[int, float], float] = field(default_factory=dict)

    def seen(self, strays: set[tuple[int, float]]) -> None:
        """These are there now."""
        now = time.monotonic()
        self._first = {one: self._first.get(one, now) for one in strays}
        self.old |= {one for one, first in self._first.items() if now - first > self.patience}
