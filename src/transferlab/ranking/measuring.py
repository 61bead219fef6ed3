"""All scores of a candidate: their values, the seconds they take, what one cannot say, and how sure it is."""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np

from transferlab.errors import InputError
from transferlab.seeding import derive
from transferlab.transferability.candidate import Array, Candidate, Labels

Score = Callable[[Candidate], float]
WITHOUT = frozenset({"neighbours_accuracy", "probe_accuracy", "proxy_a_distance", "task2vec_distance"})
"""Scores that have no interval: those that hold samples out, as one that is drawn twice would be its own answer, and
the one that reads no samples."""


@dataclass(frozen=True)
class Measured:
    """What the scores say of a candidate.

    Attributes:
        scores: by name.
        missing: by name, why there is none.
        intervals: 95 %, by name.
        seconds: of each score, without its interval.
    """

    scores: Mapping[str, float]
    missing: Mapping[str, str]
    intervals: Mapping[str, tuple[float, float]]
    seconds: Mapping[str, float]

    @property
    def order(self) -> list[str]:
        """Of all scores that were asked for: first those that there are."""
        return [*self.scores, *self.missing]


def measured(candidate: Candidate, functions: Mapping[str, Score], draws: int, sure: Collection[str]) -> Measured:
    """Take every score of a candidate.

    Args:
        candidate: as it was seen.
        functions: with their settings, by name.
        draws: of the samples, for intervals; 0: none.
        sure: the scores that get one.
    """
    scores, missing, intervals, seconds = {}, {}, {}, {}
    for name, function in functions.items():
        began = time.perf_counter()
        try:
            scores[name] = function(candidate)
        except InputError as error:
            missing[name] = str(error)
            continue
        seconds[name] = time.perf_counter() - began
        if draws and name in sure and name not in WITHOUT:
            intervals[name] = interval(candidate, function, scores[name], draws)
    return Measured(scores, missing, intervals, seconds)


def interval(candidate: Candidate, function: Score, score: float, draws: int) -> tuple[float, float]:
    """The 95 % interval of a score over its samples, from draws with replacement within each class.

    A draw holds samples twice, by which some scores move as a whole: the draws' percentiles are taken from their mean,
    and set off from the score itself.

    Args:
        candidate: whose samples are drawn, those of both sides; the same numbers for every candidate.
        function: the score.
        score: of all samples.
        draws: how many.
    """
    generator = np.random.default_rng(derive(0, "bootstrap"))
    found = np.array([function(_again(candidate, generator)) for _ in range(draws)])
    low, high = np.percentile(found - found.mean(), [2.5, 97.5])
    return float(score + low), float(score + high)


def _again(candidate: Candidate, generator: np.random.Generator) -> Candidate:
    """As many samples, drawn with replacement."""
    rows = _within(candidate.labels, len(candidate.features), generator)
    parts = {name: getattr(candidate, name) for name in ("features", "labels", "probabilities", "reference")}
    found = {name: part[rows] for name, part in parts.items() if part is not None}
    if candidate.source_features is not None:
        rows = _within(candidate.source_labels, len(candidate.source_features), generator)
        parts = {name: getattr(candidate, name) for name in ("source_features", "source_labels")}
        found |= {name: part[rows] for name, part in parts.items() if part is not None}
    return replace(candidate, **found)


def _within(labels: Array | Labels | None, samples: int, generator: np.random.Generator) -> Labels:
    """Numbers of samples, each class as often as it is there; labels that are no classes are one class."""
    whole = labels is not None and labels.dtype == np.int64 and labels.ndim == 1
    classes = labels if whole and labels is not None else np.zeros(samples, np.int64)
    where = [np.flatnonzero(classes == one) for one in np.unique(classes)]
    return np.concatenate([generator.choice(rows, len(rows)) for rows in where])
