"""How a budget is divided: how many candidates enter, and after how many epochs most of them are given up."""

from dataclasses import dataclass

from transferlab.errors import InputError


@dataclass(frozen=True)
class Bracket:
    """A plan of successive halving.

    Attributes:
        entrants: candidates that begin, the first in their order.
        rungs: epochs after which they are judged, rising; the last is a whole run where the budget has it.
        factor: of those at a rung one in so many goes on.
        has_twin: whether one of them, a twin, goes along wherever it would be given up.
    """

    entrants: int
    rungs: tuple[int, ...]
    factor: int
    has_twin: bool = True

    @property
    def going(self) -> tuple[int, ...]:
        """How many are trained to each rung, at most."""
        found = [self.entrants]
        for _ in self.rungs[1:]:
            found.append(min(found[-1], self.onward(found[-1]) + self.has_twin))
        return tuple(found)

    @property
    def epochs(self) -> int:
        """What it takes, at most."""
        steps = zip((0, *self.rungs), self.rungs, strict=False)
        return sum(going * (epochs - before) for going, (before, epochs) in zip(self.going, steps, strict=True))

    def onward(self, going: int) -> int:
        """How many of those at a rung go on, the twin aside."""
        return max(1, (going + 1) // self.factor)


def bracket(candidates: int, whole: int, budget: float, factor: int, first: int = 1) -> Bracket:
    """The plan that gives up least within a budget.

    It has as few rungs as can be; where all of them cost too much, the last ones go, and then the last candidates.

    Args:
        candidates: how many there are, with the twin.
        whole: epochs of a whole run.
        budget: epochs of all together.
        factor: of those at a rung one in so many goes on, at least 2.
        first: epochs before which nobody is judged.

    Raises:
        InputError: the budget has not two candidates, or a setting is out of range.
    """
    steps = _steps(whole, factor, first)
    for entrants in range(candidates, 1, -1):
        for last in range(len(steps), 0, -1):
            for rungs in range(1, last + 1):
                found = Bracket(entrants, tuple(steps[last - rungs : last]), factor)
                if found.epochs <= budget:
                    return found
    raise InputError(f"a budget of {budget:g} epochs is too small to choose by: two candidates take {2 * steps[0]}")


def race(candidates: int, whole: int, factor: int, first: int) -> Bracket:
    """The plan in which all enter and the last few are whole runs: what it takes is what it costs.

    Args:
        candidates: as `bracket` takes it, without a twin among them.
        whole: likewise.
        factor: likewise.
        first: likewise; at the first rung not before it all are judged.

    Raises:
        InputError: a setting is out of range.
    """
    return Bracket(candidates, tuple(_steps(whole, factor, first)), factor, has_twin=False)


def _steps(whole: int, factor: int, first: int) -> list[int]:
    """All rungs that there could be.

    Raises:
        InputError: a setting is out of range.
    """
    if factor < 2 or not 1 <= first <= whole:
        raise InputError(f"factor={factor}, first={first}: a factor of at least 2, and first epochs from 1 to {whole}")
    steps = [whole]
    while (shorter := -(-steps[0] // factor)) >= first and shorter < steps[0]:
        steps.insert(0, shorter)
    return steps
