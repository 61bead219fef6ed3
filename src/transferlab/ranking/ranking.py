"""Every candidate scored on one target: the rows, in order, and how far the scores agree."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from omegaconf import DictConfig, OmegaConf

from transferlab import nodes
from transferlab.directions import sign
from transferlab.environment import quiet
from transferlab.errors import InputError, unknown
from transferlab.ranking.asking import Asked, Entrant, LeftOut, Settings, chosen, read
from transferlab.ranking.measuring import Measured, Score, measured
from transferlab.ranking.seeing import Observer, Seen, identity

_log = logging.getLogger(__name__)
_EMBEDDED = "task2vec_distance"


@dataclass(frozen=True)
class Row:
    """A candidate with its scores.

    Attributes:
        source: its name.
        backbone: likewise.
        measured: its scores.
        samples: of the target that were scored.
        source_samples: likewise of the source.
        features: numbers that the net makes of a sample.
        seconds: of the forward pass.
        cached: whether there was none, as all was found in the cache.
        config: what its scores come from.
    """

    source: str
    backbone: str
    measured: Measured
    samples: int
    source_samples: int
    features: int
    seconds: float
    cached: bool
    config: Mapping[str, Any]

    @property
    def scores(self) -> Mapping[str, float]:
        """By name."""
        return self.measured.scores

    @property
    def said(self) -> str:
        """What it took, in a few words."""
        passed = "found in the cache" if self.cached else "passed through the net"
        scored = sum(self.measured.seconds.values())
        return f"{self.samples} samples {passed} in {self.seconds:.1f} s, {len(self.scores)} scores in {scored:.1f} s"


@dataclass(frozen=True)
class Ranking:
    """Candidates in order, the best first.

    Attributes:
        target: its name.
        settings: as it was asked for.
        rows: those that lack the score that sorts are last.
        left_out: what could not be scored.
        functions: the scores with their settings.
        config: of the first candidate's run: where runs lie, who tracks them.
    """

    target: str
    settings: Settings
    rows: Sequence[Row]
    left_out: Sequence[LeftOut]
    functions: Mapping[str, Any]
    config: DictConfig

    @property
    def names(self) -> list[str]:
        """The scores that some candidate has, the one that sorts first."""
        return there(self.rows, self.settings.by)

    @property
    def missing(self) -> dict[str, str]:
        """The scores that no candidate has, and why the first has none."""
        return {name: why for name, why in self.rows[0].measured.missing.items() if name not in self.names}


def rank(words: Sequence[str], config_dir: str | None = None) -> Ranking:
    """Score every source on every backbone that words name, and sort them.

    Args:
        words: overrides as `transferlab rank` takes them: `source` and `backbone` as globs, else those of a run and the
            keys of `conf/rank.yaml`.
        config_dir: a folder of one's own configs.

    Raises:
        InputError: a word is wrong, or no candidate is left.
    """
    asked = read(words, config_dir)
    settings, functions = asked.settings, _functions(asked)
    sure = chosen("intervals", settings.intervals, functions) if settings.bootstrap else []
    quiet()
    observer = Observer(settings.samples, settings.pretrain, settings.task2vec if _EMBEDDED in functions else 0)
    rows, left_out = [], list(asked.left_out)
    reference = None if settings.reference is None else observer.see(_reference(asked)).candidate.features
    for number, entrant in enumerate(asked.entrants, 1):
        try:
            seen = observer.see(entrant.config)
        except InputError as error:
            left_out.append(LeftOut(entrant.source, entrant.backbone, str(error)))
            continue
        candidate = replace(seen.candidate, reference=reference)
        rows.append(_row(entrant, seen, measured(candidate, functions, settings.bootstrap, sure)))
        _log.info("[%d/%d] %s: %s", number, len(asked.entrants), entrant.name, rows[-1].said)
    if not rows:
        raise InputError(
            f"no candidate can be scored; {left_out[0].source} on {left_out[0].backbone}: {left_out[0].reason}"
        )
    config = asked.entrants[0].config
    nodes = {name: OmegaConf.to_container(asked.functions[name]) for name in functions}
    return Ranking(str(config.axes.target), settings, _sorted(rows, settings.by), left_out, nodes, config)


def there(rows: Sequence[Row], by: str) -> list[str]:
    """The scores that some row has, `by` first."""
    names = [name for row in rows for name in row.measured.order if name in row.scores]
    return sorted(dict.fromkeys(names), key=lambda name: name != by)


def _functions(asked: Asked) -> dict[str, Score]:
    """The scores that are asked for, with their settings."""
    settings = asked.settings
    names = chosen("scores", settings.scores, map(str, asked.functions))
    if settings.by not in names:
        raise unknown("score (by)", settings.by, names)
    if settings.by in settings.off:
        raise InputError(f"by={settings.by}: {settings.off[settings.by]}")
    return {name: nodes.build(asked.functions[name]) for name in names}


def _reference(asked: Asked) -> DictConfig:
    """The config of the candidate with whose view others are compared.

    Raises:
        InputError: it is none of the candidates.
    """
    known = {entrant.name: entrant.config for entrant in asked.entrants}
    if asked.settings.reference not in known:
        raise unknown("candidate (reference)", str(asked.settings.reference), known)
    return known[str(asked.settings.reference)]


def _row(entrant: Entrant, seen: Seen, found: Measured) -> Row:
    candidate = seen.candidate
    beside = 0 if candidate.source_features is None else len(candidate.source_features)
    samples, features = candidate.features.shape
    names = (entrant.source, entrant.backbone)
    if _EMBEDDED in found.seconds:
        found = replace(found, seconds={**found.seconds, _EMBEDDED: found.seconds[_EMBEDDED] + seen.embedding_seconds})
    return Row(*names, found, samples, beside, features, seen.seconds, seen.cached, identity(entrant.config))


def _sorted(rows: Sequence[Row], by: str) -> list[Row]:
    """The best first, those without a score last.

    Raises:
        InputError: none has it.
    """
    if not any(by in row.scores for row in rows):
        others = ", ".join(there(rows, by)) or "none that there is"
        raise InputError(f"by={by}: {rows[0].measured.missing[by]}; sort by another: {others}")
    have = [row for row in rows if by in row.scores]
    lack = [row for row in rows if by not in row.scores]
    # a sort keeps the order of equals, which is that of their names
    return [*sorted(have, key=lambda row: -sign(by) * row.scores[by]), *lack]
