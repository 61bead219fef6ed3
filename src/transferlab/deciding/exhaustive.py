"""A study in which every candidate was run to its end, as what a search would have found there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from transferlab import scored
from transferlab.compare import records
from transferlab.compare.foretold import Start, said_of, start_of
from transferlab.compare.metric import Metric
from transferlab.compare.runs import Run
from transferlab.compare.settings import differing_keys
from transferlab.errors import InputError
from transferlab.halving.judging import check, score
from transferlab.halving.regret import Known
from transferlab.selection.rules import Rule

_GIVEN = ("target.", "task.", "selection.")


@dataclass(frozen=True)
class Table:
    """Candidates for one target, all of them known.

    Attributes:
        target: its name, with what else of it differs between the study's tables.
        metric: of the test split.
        whole: epochs of a whole run.
        known: the candidates, all under the same seeds.
        scores: what rankings in the study's folder say of pairs of source and backbone.
        left_out: names of those that lack a seed, as runs diverged or never finished.
    """

    target: str
    metric: Metric
    whole: int
    known: Sequence[Known]
    scores: Mapping[tuple[str, str], Mapping[str, float]]
    left_out: Sequence[str]


def tables(place: Path, metric: str | None = None) -> list[Table]:
    """The tables of a study, one for each target, label budget and rule.

    Args:
        place: the study's folder.
        metric: of the test split; None: as in a comparison.

    Raises:
        InputError: no finished runs, or a selection rule that cannot choose between runs.
    """
    study, said = records.load([place], metric), said_of(scored.rankings([place]))
    groups: dict[tuple[Any, ...], list[Run]] = {}
    for run in study.runs.values():
        groups.setdefault((run.axes["target"], *_given(run)), []).append(run)
    apart = differing_keys([dict(key[1:]) for key in groups])
    return [_table(key, runs, apart, Metric(study.metric), said) for key, runs in groups.items()]


def _given(run: Run) -> tuple[tuple[str, str], ...]:
    return tuple((key, value) for key, value in run.identity.items() if key.startswith(_GIVEN) and key != "target.fold")


def _table(
    key: tuple[Any, ...],
    runs: Sequence[Run],
    apart: set[str],
    metric: Metric,
    said: Mapping[Start, Mapping[str, float]],
) -> Table:
    told = "".join(f" {name}={value}" for name, value in key[1:] if name in apart)
    rule = _rule(runs[0])
    lengths = {int(run.config["trainer.max_epochs"]) for run in runs}
    if len(lengths) > 1:
        raise InputError(
            f"runs for {key[0]}{told} have several lengths ({', '.join(map(str, sorted(lengths)))} epochs)"
        )
    named: dict[str, dict[str, Run]] = {}
    for name, run in zip(_names(runs), runs, strict=True):
        named.setdefault(name, {})[str(run.seed)] = run
    seeds = max(map(set, named.values()), key=len)
    known = [_known(name, own, rule, metric) for name, own in named.items() if set(own) >= seeds]
    scores = {_pair(run): said[start] for run in runs if (start := start_of(run)) in said and not _is_alone(run)}
    lacking = [one for one, own in named.items() if set(own) < seeds]
    return Table(f"{key[0]}{told}", metric, lengths.pop(), known, scores, lacking)


def _known(name: str, runs: Mapping[str, Run], rule: Rule, metric: Metric) -> Known:
    first = next(iter(runs.values()))
    return Known(
        name,
        str(first.axes["strategy"]),
        _is_twin(first),
        {seed: _scores(run, rule) for seed, run in runs.items()},
        {seed: metric.sign * float((run.metrics["selected"] or {})[metric.name] or 0) for seed, run in runs.items()},
        _pair(first),
        _is_alone(first),
    )


def _is_twin(run: Run) -> bool:
    if str(run.config.get("target.labels")) == "none":
        return str(run.axes["strategy"]) == "source_only"
    return _is_alone(run)


def _is_alone(run: Run) -> bool:
    return str(run.config.get("strategy.start")) == "random"


def _pair(run: Run) -> tuple[str, str]:
    return str(run.axes["source"]), str(run.axes["backbone"])


def _names(runs: Sequence[Run]) -> list[str]:
    """What differs between candidates: their axes, and what else varies among runs with the same axes."""
    axes = [key for key in ("strategy", "source", "backbone") if len({run.axes[key] for run in runs}) > 1]
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        groups.setdefault(tuple(str(run.axes[key]) for key in ("strategy", "source", "backbone")), []).append(run)
    varying = {key: sorted(differing_keys([run.identity for run in group])) for key, group in groups.items()}
    names = {}
    for key, group in groups.items():
        for run in group:
            more = [f"{name}={run.identity.get(name)}" for name in varying[key]]
            names[run.run_id] = " ".join([*(str(run.axes[axis]) for axis in axes), *more]) or key[0]
    return [names[run.run_id] for run in runs]


def _scores(run: Run, rule: Rule) -> list[float]:
    """Of each epoch, by the selection rule."""
    curves = run.curves
    return [
        score(rule, {"epoch": int(epoch), **{key: float(values[at]) for key, values in curves.values.items()}})
        for at, epoch in enumerate(curves.epochs)
    ]


def _rule(run: Run) -> Rule:
    """The selection rule that a run's config names."""
    from hydra.utils import instantiate

    node = OmegaConf.create()
    for key, value in run.config.items():
        if key.startswith("selection."):
            OmegaConf.update(node, key.removeprefix("selection."), value)
    rule: Rule = instantiate(node, _convert_="all")
    check(rule)
    return rule
