"""Successive halving (Jamieson & Talwalkar 2016), by Optuna's pruner; what gives up here can go on later."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan, nan
from statistics import fmean
from typing import Any, TypeAlias

from transferlab.extras import library
from transferlab.halving.brackets import Bracket


@dataclass(frozen=True)
class Reached:
    """A candidate at a rung.

    Attributes:
        score: of its best epoch so far by the selection rule, the higher the better; NaN: it failed or diverged.
        steady: mean score of its epochs since the rung before, which tells equals apart.
        epochs: that it has been trained in all, fewer than the rung's where it was over before.
        seconds: that these took since the rung before.
    """

    score: float
    steady: float
    epochs: int
    seconds: float = 0.0

    @classmethod
    def of(cls, scores: Sequence[float], before: int, seconds: float = 0.0) -> "Reached":
        """One whose epochs have these scores.

        Args:
            scores: of all epochs so far.
            before: how many of them it had at the rung before.
            seconds: that the others took.
        """
        if not scores:
            return cls(nan, nan, 0, seconds)
        # of a run that was over before nothing is later
        return cls(max(scores), fmean(scores[before:] or scores[-1:]), len(scores), seconds)

    @property
    def rank(self) -> tuple[float, float]:
        """To be compared by."""
        return tuple(float("-inf") if isnan(value) else value for value in (self.score, self.steady))  # type: ignore[return-value]


LOST = Reached(nan, nan, 0)
"""One that failed."""
Evaluate: TypeAlias = Callable[[Sequence[str], int], Mapping[str, Reached]]
"""Trains candidates until each has so many epochs in all."""


@dataclass(frozen=True)
class Rung:
    """What became of the candidates at a rung.

    Attributes:
        epochs: after which they were judged.
        reached: each in its order.
        passed: those that go on; at the last rung, none.
        twin: that goes on although it would be given up, as what the others are held against.
        unaffordable: that would go on, but for the budget.
    """

    epochs: int
    reached: Mapping[str, Reached]
    passed: tuple[str, ...] = ()
    twin: str | None = None
    unaffordable: tuple[str, ...] = ()


@dataclass
class Search:
    """What a search did.

    Attributes:
        bracket: its plan.
        twins: candidates that take nothing from a source.
        rungs: the rungs that were climbed.
    """

    bracket: Bracket
    twins: frozenset[str]
    rungs: list[Rung] = field(default_factory=list)

    @property
    def epochs(self) -> int:
        """That all candidates were trained together."""
        return sum({name: one.epochs for rung in self.rungs for name, one in rung.reached.items()}.values())

    @property
    def seconds(self) -> float:
        """Likewise."""
        return sum(one.seconds for rung in self.rungs for one in rung.reached.values())

    @property
    def best(self) -> str:
        """The best at the last rung, of equals the first in their order."""
        return self._best(lambda name: True) or next(iter(self.rungs[-1].reached))

    @property
    def best_transfer(self) -> str | None:
        """The best at the last rung that takes something from a source; None: none got there."""
        return self._best(lambda name: name not in self.twins)

    @property
    def best_twin(self) -> str | None:
        """The best at the last rung that takes nothing from a source."""
        return self._best(lambda name: name in self.twins)

    @property
    def transfers(self) -> bool:
        """Whether something beats every twin after as many epochs; of equal scores the steadier beats the other."""
        reached, best, twin = self.rungs[-1].reached, self.best_transfer, self.best_twin
        if best is None or isnan(reached[best].score):
            return False
        return twin is None or reached[best].rank > reached[twin].rank

    def _best(self, wanted: Callable[[str], bool]) -> str | None:
        last = {name: one.rank for name, one in self.rungs[-1].reached.items() if wanted(name)}
        return max(last, key=last.__getitem__) if last else None


@dataclass(frozen=True)
class Purse:
    """What may be spent; of the two the one that is given.

    Attributes:
        epochs: of all candidates together.
        seconds: likewise; a later epoch is expected to take as long as those before.
    """

    epochs: float | None = None
    seconds: float | None = None

    def affords(self, more: int, search: Search) -> bool:
        """Whether so many epochs more are to be begun."""
        if self.epochs is not None and search.epochs + more > self.epochs:
            return False
        if self.seconds is None:
            return True
        pace = search.seconds / search.epochs if search.epochs else 0.0
        return search.seconds + more * pace <= self.seconds


def search(names: Sequence[str], twins: Collection[str], evaluate: Evaluate, bracket: Bracket, purse: Purse) -> Search:
    """Spend a budget on candidates, rung by rung.

    Every candidate is a trial of one Optuna study whose `SuccessiveHalvingPruner` says at each rung who goes on. All
    are trained to a rung before one is trained to the next, so that where the budget ends they have been compared. The
    best twin always goes on.

    Args:
        names: of the candidates, the most promising first, of which a twin is to be among the first `entrants`.
        twins: those of them that take nothing from a source.
        evaluate: trains.
        bracket: the plan.
        purse: what may be spent.

    Raises:
        InputError: Optuna is not installed.
    """
    optuna = library("optuna", "choosing within a budget is successive halving by Optuna", "search")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=bracket.factor)
    study = optuna.create_study(direction="maximize", pruner=pruner, sampler=optuna.samplers.RandomSampler(seed=0))
    done, going = Search(bracket, frozenset(twins)), list(names[: bracket.entrants])
    trials = {name: study.ask() for name in going}
    for place, epochs in enumerate(bracket.rungs):
        reached = evaluate(going, epochs)
        reached = {name: reached[name] for name in going}
        done.rungs.append(Rung(epochs, reached))
        if place + 1 == len(bracket.rungs):
            break
        # the pruner counts in resources of the first rung, whatever these are
        passed = _passed(study, trials, reached, bracket, place)
        twin = done.best_twin
        wanted = [name for name in reached if name in passed or name == twin]
        going = _afforded(wanted, twin, done, purse, bracket.rungs[place + 1] - epochs)
        if not set(going) - set(twins):
            break  # judged where they stand
        dear = tuple(name for name in wanted if name not in going)
        done.rungs[-1] = Rung(epochs, reached, tuple(going), None if twin in passed else twin, dear)
    return done


def _passed(
    study: Any, trials: Mapping[str, Any], reached: Mapping[str, Reached], bracket: Bracket, place: int
) -> set[str]:
    """Those that the pruner lets go on when all have arrived, and of equals no more than are to go on.

    It judges a trial by those that arrived before. So each is asked once for it to arrive, and once more as it was
    before, when all are there; it then counts among its own competitors twice, and (n + 1) // factor of n go on.
    """
    for name, one in reached.items():
        trials[name].report(one.score, bracket.factor**place)
    before = {trial.number: trial for trial in study.get_trials()}
    for name in reached:
        trials[name].should_prune()
    passed = {name for name in reached if not study.pruner.prune(study, before[trials[name].number])}
    best = sorted(passed, key=lambda name: (reached[name].rank, -list(reached).index(name)), reverse=True)
    return set(best[: bracket.onward(len(reached))])


def _afforded(wanted: Sequence[str], twin: str | None, done: Search, purse: Purse, more: int) -> list[str]:
    """Of those that would go on the best that the budget has, always with the twin; none where it has not two.

    Args:
        wanted: they.
        twin: the best.
        done: what was spent.
        purse: what may be.
        more: epochs to the next rung.
    """
    reached, kept = done.rungs[-1].reached, list(wanted)
    for name in sorted(set(wanted) - {twin}, key=lambda name: (reached[name].rank, -wanted.index(name))):
        if purse.affords(more * len(kept), done):
            return kept
        kept.remove(name)
    return []
