"""Candidates trained from rung to rung by the launcher of the command; what a rung said once, it says again."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from transferlab import jobs, results
from transferlab.composing import Composer
from transferlab.deciding.asking import Candidate
from transferlab.expanding import launch
from transferlab.files import write_text
from transferlab.halving.judging import is_behind, judged
from transferlab.halving.search import Reached
from transferlab.progress import expect
from transferlab.results import Record
from transferlab.selection.rules import Rule


@dataclass
class Journal:
    """What a selection has found so far, written after every rung: started again, it decides as it did.

    Attributes:
        file: where it is kept.
        rungs: by epochs, each candidate that was judged then.
        told: what else is kept, by name.
    """

    file: Path
    rungs: dict[int, dict[str, Reached]] = field(default_factory=dict)
    told: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, file: Path) -> "Journal":
        """What a file holds; an empty one where there is none that can be read."""
        try:
            held = json.loads(file.read_text())
            rungs = {
                int(rung["epochs"]): {name: _read(one) for name, one in rung["reached"].items()}
                for rung in held["rungs"]
            }
            return cls(file, rungs, dict(held["told"]))
        except (OSError, ValueError, KeyError, TypeError):
            return cls(file)

    def write(self) -> None:
        """Whole or not at all."""
        rungs = [
            {"epochs": epochs, "reached": {name: _plain(one) for name, one in found.items()}}
            for epochs, found in sorted(self.rungs.items())
        ]
        write_text(self.file, json.dumps({"rungs": rungs, "told": self.told}, indent=1) + "\n")

    def keep(self, key: str, value: Callable[[], Any]) -> Any:
        """What is kept under a name, found now where it was not before."""
        if key not in self.told:
            self.told[key] = value()
            self.write()
        return self.told[key]


def _plain(one: Reached) -> dict[str, Any]:
    return {key: value if isfinite(value) else str(value) for key, value in asdict(one).items()}


def _read(one: Mapping[str, Any]) -> Reached:
    values: dict[str, Any] = {key: float(value) if isinstance(value, str) else value for key, value in one.items()}
    return Reached(**values)


@dataclass
class Climb:
    """Trains candidates, and reads what became of them.

    Attributes:
        composer: of the command.
        hydra: overrides of Hydra's own section.
        candidates: by name.
        rule: of selection.
        whole: epochs of a whole run.
        journal: what is known.
    """

    composer: Composer
    hydra: Sequence[str]
    candidates: Mapping[str, Candidate]
    rule: Rule
    whole: int
    journal: Journal

    def __call__(self, names: Sequence[str], epochs: int) -> Mapping[str, Reached]:
        """Train candidates until each has so many epochs in all; as `halving.search.Evaluate`."""
        known = self.journal.rungs.setdefault(epochs, {})
        wanted = [self.candidates[name] for name in names if name not in known]
        if not wanted:
            return {name: known[name] for name in names}
        earlier = {one.name: self._rung_before(one.name, epochs) for one in wanted}
        spent = self.train(wanted, epochs)
        for one in wanted:
            known[one.name] = self._judged(one, epochs, earlier[one.name], spent.get(one.name))
        self.journal.write()
        return {name: known[name] for name in names}

    def train(self, wanted: Sequence[Candidate], epochs: int) -> dict[str, float]:
        """Have the launcher train those that are not so far yet.

        Returns:
            The seconds that each of these took, by name.
        """
        behind = [one for one in wanted if is_behind(results.read(one.folder), epochs)]
        fitted = {one.name: _fitted(results.read(one.folder)) for one in behind}
        if behind:
            pause = [f"pause_at={epochs}"] if epochs < self.whole else []
            expect(len(behind))
            launch(self.composer, jobs.job, self.hydra, [[*one.words, *pause] for one in behind])
        return {one.name: _seconds(results.read(one.folder)) - fitted[one.name] for one in behind}

    def _rung_before(self, name: str, epochs: int) -> int:
        return max((rung for rung, found in self.journal.rungs.items() if rung < epochs and name in found), default=0)

    def _judged(self, one: Candidate, epochs: int, before: int, spent: float | None) -> Reached:
        record = results.read(one.folder)
        if spent is None:  # it was there before: its share
            done = len(record["history"]) if record else 0
            now = min(done, epochs) - min(done, before)
            spent = _seconds(record) * now / max(done, 1)
        return judged(record, one.name, self.rule, epochs, before, spent)


def _fitted(record: Record | None) -> float:
    return float(((record or {}).get("cost") or {}).get("fit_seconds") or 0.0)


def _seconds(record: Record | None) -> float:
    return float(((record or {}).get("cost") or {}).get("seconds") or 0.0)
