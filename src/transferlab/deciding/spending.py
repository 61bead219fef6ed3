"""What a selection cost, counted from records. No torch."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from transferlab import results
from transferlab.deciding.asking import Asked
from transferlab.deciding.confirming import Finalist
from transferlab.deciding.pairing import Pairs
from transferlab.halving.search import Search


@dataclass(frozen=True)
class Spent:
    """A part of it.

    Attributes:
        on: what.
        runs: that took part.
        epochs: that they were trained together; None: it is no training.
        seconds: likewise.
    """

    on: str
    runs: int
    epochs: int | None
    seconds: float


def spent(asked: Asked, search: Search, finalists: Iterable[Finalist], pairs: Pairs | None) -> list[Spent]:
    """Every part, in the order in which it was spent.

    Args:
        asked: of the selection.
        search: what it did.
        finalists: under fresh seeds.
        pairs: that were scored; None: none were.
    """
    parts = [] if pairs is None else [Spent(f"{pairs.score} of pairs", len(pairs.scores), None, pairs.seconds)]
    if sources := source_runs(asked):
        records = [record for run in sources if (record := results.read(run)) is not None]
        epochs = sum(len(record["history"]) for record in records)
        seconds = sum(record["cost"]["seconds"] for record in records)
        parts.append(Spent("pretraining of sources, shared with all runs", len(records), epochs, seconds))
    before: dict[str, int] = {}
    for rung in search.rungs:
        more = sum(one.epochs - before.get(name, 0) for name, one in rung.reached.items())
        seconds = sum(one.seconds for one in rung.reached.values())
        parts.append(Spent(f"search, up to epoch {rung.epochs}", len(rung.reached), more, seconds))
        before.update({name: one.epochs for name, one in rung.reached.items()})
    for one in finalists:
        parts.append(Spent(f"fresh seeds, {one.name}", len(one.runs), one.epochs, one.seconds))
    return parts


def source_runs(asked: Asked) -> list[Path]:
    """The runs that train sources of candidates, each once."""
    return list(dict.fromkeys(one.source_run for one in asked.candidates if one.source_run is not None))


def pretraining_seconds(asked: Asked) -> float:
    """Of all sources; of those that are still to be trained as many as of the others on average."""
    runs = source_runs(asked)
    known = [record["cost"]["seconds"] for run in runs if (record := results.read(run)) is not None]
    return len(runs) * sum(known) / len(known) if known else 0.0
