"""One line a finished job of a sweep, with the time left. No torch."""

import os
import time
from dataclasses import dataclass, field

_JOBS = "TRANSFERLAB_JOBS"
_BEFORE = "TRANSFERLAB_JOBS_BEFORE"
AT_ONCE = "TRANSFERLAB_JOBS_AT_ONCE"
"""The variable in which a launcher tells its processes how many of them there are."""


def expect(jobs: int, before: int = 0) -> None:
    """Remember, for this process and those it starts, how many jobs a command has.

    Args:
        jobs: of all its parts.
        before: of the parts that are over; Hydra numbers the jobs of each part from 0.
    """
    os.environ[_JOBS], os.environ[_BEFORE] = str(jobs), str(before)


@dataclass
class Pace:
    """How fast the jobs of this process go; skipped ones cost nothing and say nothing about those to come."""

    trained: int = 0
    seconds: float = 0.0
    _since: float = field(default_factory=time.perf_counter)

    def start(self) -> None:
        """A job begins."""
        self._since = time.perf_counter()

    def stop(self) -> None:
        """A job that trained ended."""
        self.trained += 1
        self.seconds += time.perf_counter() - self._since

    def line(self, number: int, text: str) -> str:
        """`[ 7/30] text; 1:12 left` for the job with this number, counted from 0."""
        total, number = int(os.environ.get(_JOBS, "1")), number + int(os.environ.get(_BEFORE, "0"))
        if total < 2:
            return text
        place = f"[{number + 1:{len(str(total))}d}/{total}] {text}"
        remaining = total - number - 1
        if not self.trained or remaining <= 0:
            return place
        seconds = remaining * self.seconds / self.trained / int(os.environ.get(AT_ONCE, "1"))
        return f"{place}; {_clock(seconds)} left"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
