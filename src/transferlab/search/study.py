"""A search's study in Optuna: what is to be run next of it, and what was found. No torch."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from transferlab.errors import InputError
from transferlab.search import trials
from transferlab.search.planning import Search


class Study:
    """A study of Optuna's for one search: what is to be run next of it, and what was found.

    Args:
        search: for which it is.
        sweeper: `hydra.sweeper`.
        storage: where it is kept.

    Raises:
        InputError: it has trials that differ in more than what is searched.
    """

    def __init__(self, search: Search, sweeper: DictConfig, storage: str) -> None:
        self.search, self.sweeper, self.storage = search, sweeper, storage
        self._optuna = trials.opened(sweeper, storage, search.study, create=True)
        self._begun: set[int] = set()
        known = self._optuna.user_attrs.get("identity")
        if known not in (None, search.identity):
            raise InputError(
                f"the search '{self.search.study}' in {storage} has other settings or another space, so its trials "
                "cannot be compared with these; choose another study=NAME, or hydra.sweeper.study_name=NAME"
            )
        if known is None:
            self._optuna.set_user_attr("identity", search.identity)
            if search.defaults:
                self._optuna.enqueue_trial(dict(search.defaults))

    def next(self, most: int) -> list[int]:
        """Trials to be done now, by their numbers: those that did not end first, then new ones.

        Args:
            most: how many, at most.
        """
        found = self.open()[:most]
        while len(found) < most and len(self._asked()) < self.search.trials:
            self._optuna.sampler = trials.sampler(self.sweeper, self.search.study, len(self._optuna.trials))
            space = {key: one.distribution() for key, one in self.search.space.items()}
            found.append(int(self._optuna.ask(space).number))
        self._begun |= {*found}
        return found

    def open(self) -> list[int]:
        """Trials that nobody has ended, and that this command has not tried."""
        return [one.number for one in self._asked() if not one.state.is_finished() and one.number not in self._begun]

    def left(self) -> int:
        """How many trials are to be done."""
        return len(self.open()) + self.search.trials - len(self._asked())

    def is_over(self) -> bool:
        """Whether all trials have ended."""
        asked = self._asked()
        return len(asked) >= self.search.trials and all(one.state.is_finished() for one in asked)

    def words(self, number: int) -> list[str]:
        """The overrides in which a trial differs from the others."""
        values = self._optuna.trials[number].params
        return [self.search.space[key].word(value) for key, value in values.items()]

    def best(self) -> Any | None:
        """The trial with the best score, of equals the first; None where none ended well."""
        ended = [one for one in self._asked() if one.state.name == "COMPLETE"]
        return max(ended, key=lambda one: (one.value, -one.number), default=None)

    def said(self, best: Path | None) -> dict[str, Any]:
        """What the ledger is told of it."""
        found = self.best()
        score = None if found is None or best is None else {"run": best.name, "score": found.value}
        about = {"name": self.search.name, "study": self.search.study, "trials": self.search.trials}
        return {**about, "begun": len(self._asked()), "best": score}

    def found(self) -> str:
        """The best trial, in a sentence."""
        best, name = self.best(), self.search.name
        if best is None:
            return f"searched {name}: no trial ended with a score"
        return f"searched {name}: {best.value:.4f} with {' '.join(self.words(best.number)) or 'its only configuration'}"

    def _asked(self) -> list[Any]:
        """All trials but those that wait to be drawn, or broke while they were."""
        return [one for one in self._optuna.trials if one.state.name not in ("WAITING", "FAIL")]
