"""The finalists under fresh seeds, trained whole: what is chosen must beat its twin there too."""

from dataclasses import dataclass
from statistics import fmean
from typing import Any

from transferlab import results
from transferlab.deciding.asking import Asked, Candidate, composed
from transferlab.deciding.climbing import Climb
from transferlab.errors import InputError
from transferlab.halving.judging import is_behind, reached
from transferlab.halving.search import Search
from transferlab.selection.rules import Rule


@dataclass(frozen=True)
class Finalist:
    """A candidate under fresh seeds.

    Attributes:
        name: of the candidate.
        runs: one under each seed.
        seeds: they.
        validation: score of each by the selection rule, the higher the better.
        steady: mean score of the epochs of each in the second half of training, which tells equals apart.
        tests: score of each on the test split; none is read before the choice is made.
        epochs: that they were trained together.
        seconds: likewise.
    """

    name: str
    runs: tuple[str, ...]
    seeds: tuple[int, ...]
    validation: tuple[float, ...]
    steady: tuple[float, ...]
    tests: tuple[float, ...]
    epochs: int
    seconds: float

    @property
    def rank(self) -> tuple[float, float]:
        """To be compared by."""
        return fmean(self.validation), fmean(self.steady)


@dataclass(frozen=True)
class Outcome:
    """What is chosen.

    Attributes:
        chosen: its name.
        finalists: by name, the chosen one among them.
        guarded: why nothing but a twin was left to choose; None: what is chosen transfers.
    """

    chosen: str
    finalists: dict[str, Finalist]
    guarded: str | None


def confirm(asked: Asked, climb: Climb, search: Search) -> Outcome:
    """Train the best, and the best twin beside it, under fresh seeds, and choose by the selection rule.

    Raises:
        InputError: every candidate failed, or a finalist did under a fresh seed.
    """
    best, twin = search.best_transfer, search.best_twin
    wanted = [
        name for name in ((best, twin) if search.transfers else (twin or best,)) if name and _stands(name, search)
    ]
    if not wanted:
        raise InputError(f"no candidate could be trained; the first failed with: {_reason(asked.candidates[0])}")
    found = {one: _finalist(one, asked, climb) for one in wanted}
    guarded = _guarded(search, found)
    chosen = wanted[0] if guarded is None or len(wanted) == 1 else wanted[1]
    return Outcome(chosen, found, guarded)


def _guarded(search: Search, found: dict[str, Finalist]) -> str | None:
    """Why nothing but a twin is left, by validation; None: something else is."""
    best, twin = search.best_transfer, search.best_twin
    if not search.transfers:
        return (
            None if twin is None else f"after {search.rungs[-1].epochs} epochs no candidate beat {twin} on validation"
        )
    if best in found and twin in found and found[best].rank <= found[twin].rank:
        return f"under fresh seeds {best} did not beat {twin} on validation"
    return None


def _stands(name: str, search: Search) -> bool:
    return search.rungs[-1].reached[name].score == search.rungs[-1].reached[name].score


def _finalist(name: str, asked: Asked, climb: Climb) -> Finalist:
    held = climb.journal.keep(f"finalist {name}", lambda: _trained(name, asked, climb))
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in held.items()}
    return Finalist(**values)


def _trained(name: str, asked: Asked, climb: Climb) -> dict[str, Any]:
    seeds = [asked.seed + 1 + number for number in range(asked.choice.seeds)]
    words = [tuple(climb.candidates[name].under(seed)) for seed in seeds]
    made = [one for one, _ in composed(climb.composer, asked.hydra, words)]
    named = [Candidate(f"{name} seed={seed}", *_rest(one)) for one, seed in zip(made, seeds, strict=True)]
    climb.train(named, asked.whole)
    records = [_finished(one, asked.whole) for one in named]
    return {
        "name": name,
        "runs": [one.folder.name for one in named],
        "seeds": seeds,
        "validation": [_validation(record, climb.rule) for record in records],
        "steady": [reached(record["history"], climb.rule, asked.whole, asked.whole // 2).steady for record in records],
        "tests": [record["metrics"]["selected"].get(f"test/{asked.config.task.metric}") for record in records],
        "epochs": sum(len(record["history"]) for record in records),
        "seconds": sum(record["cost"]["seconds"] for record in records),
    }


def _rest(one: Candidate) -> tuple[Any, ...]:
    return tuple(vars(one).values())[1:]


def _finished(one: Candidate, whole: int) -> results.Record:
    record = results.read(one.folder)
    if record is None or record["status"] != "finished" or is_behind(record, whole):
        raise InputError(f"{one.name} did not finish ({_reason(one)}), so that nothing can be said of it")
    return record


def _validation(record: results.Record, rule: Rule) -> float:
    """What the rule says of the weights that are reported, which where they are interpolated no epoch has."""
    selected = record["metrics"]["selected"]
    row: results.Record = next((row for row in record["history"] if row["epoch"] == selected["epoch"]), {})
    return reached([{**row, **selected}], rule, 1).score


def _reason(one: Candidate) -> str:
    record = results.read(one.folder)
    return str(record["reason"] or record["status"]) if record else "it has no record"
