"""Searches carried out: rounds of trials for a launcher, then the best configuration of each study on fresh seeds."""

import logging
from collections.abc import Sequence
from contextlib import ExitStack

from transferlab import progress
from transferlab.ledger.plans import Planned
from transferlab.rounds import Rounds, held, own
from transferlab.search import trials
from transferlab.search.planning import searches
from transferlab.search.study import Study

_log = logging.getLogger("transferlab")


class Sweep:
    """The searches of one command.

    Args:
        rounds: have the command's jobs done.
    """

    def __init__(self, rounds: Rounds) -> None:
        self.rounds, self.loader, self.master = rounds, rounds.loader, rounds.master

    def carry_out(self, words: Sequence[str]) -> None:
        """Do all trials that are left, and then the runs on fresh seeds.

        Args:
            words: the command's overrides but those of Hydra's own section.

        Raises:
            InputError: it cannot be searched so, or the storage is of another search.
        """
        asked, sweeper = searches(self.loader, self.master, words), self.master.hydra.sweeper
        self.rounds.speak()
        trials.begin()
        with ExitStack() as stack:
            for search in sorted(asked, key=lambda one: one.name):
                stack.enter_context(held(search))
            found = [Study(one, sweeper, trials.place(sweeper, own(one))) for one in asked]
            progress.expect(sum(one.left() for one in found) + sweeper.fresh_seeds * len(found))
            while any(one.left() for one in found):
                self._launch([(one, number) for one in found for number in one.next(sweeper.n_jobs)])
            for one in found:
                self._tell(one, [])
                _log.info("%s", one.found())
            if sweeper.fresh_seeds:
                self._run_fresh(found)

    def _launch(self, batch: Sequence[tuple[Study, int]]) -> None:
        """Have trials done, when it is written down that they are asked for."""
        jobs = []
        for study in dict.fromkeys(study for study, _ in batch):
            mine = [(number, study.words(number)) for one, number in batch if one is study]
            self._tell(study, [self.rounds.planned(study.search.words, varied) for _, varied in mine])
            jobs += [
                [*study.search.words, *varied, trials.word(study.storage, study.search.study, number)]
                for number, varied in mine
            ]
        self.rounds.launch(jobs)

    def _run_fresh(self, found: Sequence[Study]) -> None:
        if waiting := [one.search.name for one in found if not one.is_over()]:
            _log.warning("fresh seeds wait until all trials have ended, which those of %s have not", waiting[0])
            return
        ended = [(one, best.number) for one in found if (best := one.best()) is not None]
        for one in found:
            if one.best() is None:
                _log.warning(
                    "no trial of %s ended with a score: there is nothing to run on fresh seeds", one.search.name
                )
        self.rounds.run_fresh([(one.search, one.words(number)) for one, number in ended])

    def _tell(self, study: Study, drawn: Sequence[Planned]) -> None:
        """Tell the ledger of a search."""
        best = study.best()
        place = None if best is None else self.rounds.planned(study.search.words, study.words(best.number)).folder
        self.rounds.leave(study.search, drawn, study.said(place))
