"""Races carried out: strategies and rates together by successive halving, then the best of them on fresh seeds."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from math import isnan
from pathlib import Path

from transferlab import nodes, progress, results
from transferlab.errors import PrunedError
from transferlab.halving.brackets import Bracket
from transferlab.halving.judging import check, is_behind, judged
from transferlab.halving.search import Purse, Reached, search
from transferlab.ledger.plans import Planned
from transferlab.ledger.races import entrants, plan
from transferlab.rounds import Rounds, held
from transferlab.search.planning import Search
from transferlab.search.racing import races
from transferlab.seeding import derive
from transferlab.selection.rules import Rule

_PRUNER = "SuccessiveHalvingPruner"
_log = logging.getLogger("transferlab")


class Racing:
    """The races of one command.

    Args:
        rounds: have the command's jobs done.
    """

    def __init__(self, rounds: Rounds) -> None:
        self.rounds, self.loader, self.master = rounds, rounds.loader, rounds.master

    def carry_out(self, words: Sequence[str]) -> None:
        """Do all races, and then the runs on fresh seeds.

        Args:
            words: the command's overrides but those of Hydra's own section.

        Raises:
            InputError: it cannot be raced so, or a candidate was stopped.
        """
        found = [self._race(one) for one in races(self.loader, self.master, words)]
        self.rounds.speak()
        with ExitStack() as stack:
            for one in sorted(found, key=lambda one: one.search.name):
                stack.enter_context(held(one.search))
            for one in found:
                one.run()
            if seeds := self.master.hydra.sweeper.fresh_seeds:
                best = [(one.search, varied) for one in found for varied in one.best_of_each()]
                progress.expect(seeds * len(best), before=-self.rounds.launched)
                self.rounds.run_fresh(best)

    def _race(self, search: Search) -> "Race":
        planned = entrants(self.loader, self.master, search)
        return Race(search, planned, plan(search, self.master.hydra.sweeper, planned), self.rounds)


class Race:
    """Candidates that go from rung to rung; as `halving.search.Evaluate` it trains them to one.

    What it decides follows from the records alone, and so is decided again as it was.

    Args:
        search: for which it is.
        planned: the candidates.
        bracket: the plan of the rungs.
        rounds: has them trained.

    Raises:
        InputError: by this selection rule nobody can be told from another.
    """

    def __init__(self, search: Search, planned: Sequence[Planned], bracket: Bracket, rounds: Rounds) -> None:
        self.search, self.bracket, self.rounds = search, bracket, rounds
        named = {one.folder.name: one for one in planned}
        # an order that the seed draws: it decides between equals, which no strategy is to gain by
        self.candidates = {name: named[name] for name in sorted(named, key=partial(derive, search.config.seed, "race"))}
        self.rule: Rule = nodes.build(search.config.selection)
        check(self.rule)
        self._last: Mapping[str, Reached] = {}

    def run(self) -> None:
        """Have the best few trained whole; the others are left `pruned` at the rungs that they did not pass."""
        self._tell()
        done = search(list(self.candidates), (), self, self.bracket, Purse())
        self._tell()
        best = self._best()
        if best is None:
            _log.warning("%s: no candidate could be trained", self.search.name)
            return
        whole = len(self.candidates) * self.bracket.rungs[-1]
        told = (self.search.name, self._last[best].score, self._title(best), done.epochs, whole)
        _log.info("%s: %.4f with %s, found in %d epochs of the %d that all candidates take", *told)

    def __call__(self, names: Sequence[str], epochs: int) -> dict[str, Reached]:
        """Give up those of the rung before that are not among these, and train these until each has so many epochs.

        Raises:
            InputError: one was stopped on the way, so that nothing can be said of the others.
        """
        if self._last:
            told = (self.search.name, len(names), len(self._last), epochs, self._title(str(self._best())))
            _log.info("%s: %d of %d go on to %d epochs, ahead is %s", *told)
        for name in self._last.keys() - set(names):
            _give_up(self.candidates[name].folder)
        behind = [one for name in names if is_behind(results.read((one := self.candidates[name]).folder), epochs)]
        if behind:
            pause = [f"pause_at={epochs}"] if epochs < self.bracket.rungs[-1] else []
            progress.expect(len(behind), before=-self.rounds.launched)  # each rung is counted by itself
            self.rounds.launch([[*one.words, *pause] for one in behind])
        before = max((rung for rung in self.bracket.rungs if rung < epochs), default=0)
        self._last = {name: self._judged(name, epochs, before) for name in names}
        self._tell()
        return dict(self._last)

    def best_of_each(self) -> list[tuple[str, ...]]:
        """What the best candidate of each strategy that came to the last rung has beside the words of all."""
        found: dict[str, str] = {}
        for name in sorted(self._last, key=lambda name: self._last[name].rank, reverse=True):
            if not isnan(self._last[name].score):
                found.setdefault(str(self.candidates[name].axes["strategy"]), name)
        return [self.candidates[name].varied for name in found.values()]

    def _judged(self, name: str, epochs: int, before: int) -> Reached:
        one = self.candidates[name]
        return judged(results.read(one.folder), self._title(name), self.rule, epochs, before)

    def _best(self) -> str | None:
        """The best at the last rung that was reached, of equals the first in their order."""
        alive = [name for name, one in self._last.items() if not isnan(one.score)]
        return max(alive, key=lambda name: self._last[name].rank, default=None)

    def _title(self, name: str) -> str:
        return " ".join(self.candidates[name].varied)

    def _tell(self) -> None:
        """Tell the ledger of the race."""
        best = self._best()
        score = None if best is None else {"run": best, "score": self._last[best].score}
        begun = sum(results.read(one.folder) is not None for one in self.candidates.values())
        about = {"name": self.search.name, "study": self.search.study, "trials": len(self.candidates)}
        self.rounds.leave(self.search, list(self.candidates.values()), {**about, "begun": begun, "best": score})


def _give_up(folder: Path) -> None:
    """Record a run that waits as broken off, and remove what it would go on from."""
    with results.held(folder, f"waiting for another process that does {folder}"):
        record = results.read(folder)
        if record is None or record["status"] != "interrupted":
            return
        reason = str(PrunedError.after(len(record["history"]), _PRUNER))
        results.write(folder, {**record, "status": "pruned", "reason": reason})
        for file in results.PASSING:
            (folder / file).unlink(missing_ok=True)
