"""Which pairs of source and backbone enter: the best by a score of transferability, before anything trains on them."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from transferlab.composing import Composer
from transferlab.deciding.asking import Asked, Candidate, ordered
from transferlab.deciding.climbing import Journal
from transferlab.directions import sign
from transferlab.errors import InputError
from transferlab.expanding import configs


@dataclass(frozen=True)
class Pairs:
    """What a score says of pairs of source and backbone.

    Attributes:
        score: its name.
        scores: by pair; None: it cannot say.
        reasons: why it cannot, by pair.
        kept: the pairs that enter.
        seconds: that it took, without pretraining of sources.
    """

    score: str
    scores: Mapping[str, float | None]
    reasons: Mapping[str, str]
    kept: Sequence[str]
    seconds: float

    def lines(self) -> list[str]:
        """In sentences."""
        said = ", ".join(f"{pair} {'-' if value is None else format(value, '.4g')}" for pair, value in self._ranked())
        better = "more" if sign(self.score) == 1 else "less"
        if not any(value is not None for value in self.scores.values()):
            why = f"as {self.score} can say nothing of them: {next(iter(self.reasons.values()))}"
            return [f"{len(self.scores)} pairs of source and backbone entered, {why}."]
        told = f"Of {len(self.scores)} pairs of source and backbone {len(self.kept)} entered, the best by {self.score}"
        lines = [f"{told} ({better} is better): {said}."]
        return lines + [f"No score for {pair}: {reason}." for pair, reason in self.reasons.items()]

    def _ranked(self) -> list[tuple[str, float | None]]:
        return sorted(self.scores.items(), key=lambda item: _rank(self.score, item[1]), reverse=True)


def paired(question: Asked, composer: Composer, journal: Journal) -> tuple[Asked, Pairs | None]:
    """The question with the candidates of the best pairs alone, and what was said of the pairs; None: all enter anyway.

    A score reads the target's training samples under the seed of the search, as `transferlab rank` does.

    Raises:
        InputError: a wrong setting of the score.
    """
    firsts = {_name(one): one for one in reversed(question.candidates) if not one.alone}
    keep, node = question.choice.keep, question.choice.score
    if keep is None or len(firsts) <= keep:
        return question, None
    name = str(node["_target_"]).rpartition(".")[2]
    held: Mapping[str, Any] = journal.keep("pairs", lambda: _scored(question, composer, firsts))
    scores: Mapping[str, float | None] = held["scores"]
    best = sorted(scores, key=lambda pair: (_rank(name, scores[pair]), pair), reverse=True)
    kept = best[:keep] if any(value is not None for value in scores.values()) else best
    found = Pairs(name, scores, held["reasons"], kept, float(held["seconds"]))
    backbones = {pair.partition("/")[2] for pair in kept}
    left = [one for one in question.candidates if (one.pair[1] in backbones if one.alone else _name(one) in kept)]
    return replace(question, candidates=ordered(left, question.seed)), found


def _scored(question: Asked, composer: Composer, firsts: Mapping[str, Candidate]) -> dict[str, Any]:
    from transferlab import nodes
    from transferlab.ranking.seeing import Observer

    function: Callable[[Any], float] = nodes.build(composer.config(list(question.hydra)).choice.score)
    observer = Observer(question.choice.samples, pretrain=True, embedded=0)
    scores: dict[str, float | None] = {}
    reasons, seconds = {}, 0.0
    jobs = [one.words for one in firsts.values()]
    for pair, config in zip(firsts, configs(composer, question.hydra, jobs), strict=True):
        try:
            seen = observer.see(config)
            began = time.perf_counter()
            scores[pair] = float(function(seen.candidate))
            seconds += seen.seconds + time.perf_counter() - began
        except InputError as error:
            scores[pair], reasons[pair] = None, str(error)
    return {"scores": scores, "reasons": reasons, "seconds": round(seconds, 3)}


def _name(one: Candidate) -> str:
    return "/".join(one.pair)


def _rank(name: str, value: float | None) -> float:
    return float("-inf") if value is None or value != value else sign(name) * value
