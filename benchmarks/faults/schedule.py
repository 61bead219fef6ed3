"""When something is killed, and which processes stay too long."""

import random
import time
from dataclasses import dataclass, field

LAST = 0.85
"""The share of runs that are finished by the last kill, so that the study does not end before it."""

DOING = 0.75
"""The share of kills that wait for a victim which does a run; others may hit one that starts."""


@dataclass(frozen=True)
class Kill:
    """One to come.

    Attributes:
        kind: of what is killed.
        after: finished runs before it.
        delay: seconds later.
        doing: it waits for one of its kind that does a run.
    """

    kind: str
    after: int
    delay: float
    doing: bool


@dataclass
class Plan:
    """Kills in their order.

    Attributes:
        kills: still to come.
        draw: for what is drawn on the way.
    """

    kills: list[Kill]
    draw: random.Random
    _since: float | None = None

    def due(self, finished: int) -> Kill | None:
        """The kill that is due, if one is."""
        if not self.kills or finished < self.kills[0].after:
            return None
        if self._since is None:
            self._since = time.monotonic()
        return self.kills[0] if time.monotonic() - self._since >= self.kills[0].delay else None

    def over(self) -> None:
        """The kill that was due is done."""
        self.kills.pop(0)
        self._since = None


def drawn(kills: int, runs: int, kinds: dict[str, int], seed: int, delay: float) -> Plan:
    """A plan.

    Args:
        kills: how many.
        runs: of the study.
        kinds: with their weights.
        seed: of all that is drawn.
        delay: seconds at most between the run that a kill waits for and the kill.
    """
    draw = random.Random(seed)
    after = sorted(draw.randrange(max(1, round(LAST * runs))) for _ in range(kills))
    chosen = draw.choices(list(kinds), list(kinds.values()), k=kills)
    pairs = zip(chosen, after, strict=True)
    return Plan([Kill(kind, count, draw.uniform(0, delay), draw.random() < DOING) for kind, count in pairs], draw)


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
