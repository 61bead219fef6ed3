"""What choosing within a budget would have cost on candidates all of which are known to their end."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf, nan
from statistics import fmean

from transferlab.errors import InputError
from transferlab.halving.brackets import bracket
from transferlab.halving.search import Purse, Reached, Search, search
from transferlab.seeding import derive


@dataclass(frozen=True)
class Known:
    """A candidate that was run to its end under several seeds.

    Attributes:
        name: of it.
        strategy: its own name.
        twin: whether it is what the others are held against.
        validation: by seed, the score of each epoch by the selection rule, the higher the better.
        test: by seed, the score of the selected epoch on the test split, the higher the better.
        pair: the source and the backbone that it starts from.
        alone: whether it takes nothing from the source.
    """

    name: str
    strategy: str
    twin: bool
    validation: Mapping[str, Sequence[float]]
    test: Mapping[str, float]
    pair: tuple[str, str] = ("", "")
    alone: bool = False


@dataclass(frozen=True)
class Regret:
    """What is lost against the best candidate, on average over searches.

    Attributes:
        budget: share of the epochs that all candidates take.
        spent: share that the search took.
        selected: loss of what is chosen.
        worst: that of the search that lost most.
        chance: loss to be expected of a candidate drawn at random.
        always: loss of one strategy whatever the target, its other settings chosen on validation; NaN: it was not run.
        guarded: share of the searches that ended with a twin, as nothing beat it.
        searches: how many.
    """

    budget: float
    spent: float
    selected: float
    worst: float
    chance: float
    always: float
    guarded: float
    searches: int


def regret(
    known: Sequence[Known],
    whole: int,
    budget: float,
    *,
    factor: int,
    first: int,
    draws: int,
    always: str = "full_finetune",
    kept: Collection[tuple[str, str]] | None = None,
) -> Regret:
    """Choose as `transferlab select` does, once under each seed and in each of several orders of the candidates.

    What is chosen is scored on the test split under the other seeds, which are the fresh ones, and so are the best
    candidate, chance, and the strategy that is always taken. With a single seed it is its own fresh one.

    Args:
        known: the candidates, all under the same seeds.
        whole: epochs of a whole run.
        budget: share of the epochs that all candidates take.
        factor: as in `brackets.bracket`.
        first: likewise.
        draws: orders under each seed.
        always: the strategy to be held against.
        kept: pairs whose candidates enter, with those that take nothing from a source on the same backbones; None: all.

    Raises:
        InputError: fewer than two candidates, or that enter; no seed, or seeds that not all have; or a budget that is
            too small.
    """
    seeds = list(known[0].test) if known else []
    if len(known) < 2 or not seeds or any(set(one.test) != set(seeds) for one in known):
        raise InputError("regret needs two candidates or more, all of them run under the same seeds")
    entering = _entering(known, kept)
    if len(entering) < 2:
        raise InputError("regret needs two candidates or more that enter: keep more pairs of source and backbone")
    named, purse = {one.name: one for one in known}, Purse(budget * len(known) * whole)
    plan = bracket(len(entering), whole, purse.epochs or 0, factor, first)
    lost, random, fixed, shares, guarded = [], [], [], [], []
    for seed in seeds:
        fresh = [other for other in seeds if other != seed] or [seed]
        values = {one.name: fmean(one.test[other] for other in fresh) for one in known}
        best = max(values.values())
        random.append(best - fmean(values.values()))
        own = [one for one in known if one.strategy == always]
        fixed.append(best - values[max(own, key=lambda one: _best(one, seed)).name] if own else nan)
        for draw in range(draws):
            climb = partial(_reached, named, seed, plan.rungs)
            found = search(*_drawn(entering, seed, draw), climb, plan, purse)
            chosen = _chosen(found, named, fresh, whole)
            lost.append(best - values[chosen])
            shares.append(found.epochs / (len(known) * whole))
            guarded.append(float(chosen in found.twins))
    return Regret(budget, fmean(shares), fmean(lost), max(lost), fmean(random), fmean(fixed), fmean(guarded), len(lost))


def _entering(known: Sequence[Known], kept: Collection[tuple[str, str]] | None) -> Sequence[Known]:
    if kept is None:
        return known
    backbones = {backbone for _, backbone in kept}
    return [one for one in known if (one.pair[1] in backbones if one.alone else one.pair in kept)]


def _drawn(known: Sequence[Known], seed: str, draw: int) -> tuple[list[str], set[str]]:
    """The candidates in an order of their own, a twin first, and which are twins."""
    names = sorted((one.name for one in known), key=lambda name: derive(0, "regret", seed, draw, name))
    twins = {one.name for one in known if one.twin}
    return sorted(names, key=lambda name: name != next((one for one in names if one in twins), None)), twins


def _reached(
    known: Mapping[str, Known], seed: str, rungs: Sequence[int], names: Sequence[str], epochs: int
) -> dict[str, Reached]:
    before = max((rung for rung in rungs if rung < epochs), default=0)
    return {name: Reached.of(known[name].validation[seed][:epochs], before) for name in names}


def _chosen(found: Search, known: Mapping[str, Known], fresh: Sequence[str], whole: int) -> str:
    """What is left when the finalists are held against one another under fresh seeds, by validation."""
    best, twin = found.best_transfer, found.best_twin
    if best is None or (twin is not None and not found.transfers):
        return str(twin)
    if twin is None:
        return best
    ranks = {name: _final(known[name], fresh, whole) for name in (best, twin)}
    return best if ranks[best] > ranks[twin] else twin


def _final(one: Known, fresh: Sequence[str], whole: int) -> tuple[float, float]:
    """Mean score over seeds, and that of the second half of training, which tells equals apart."""
    found = [Reached.of(one.validation[seed], whole // 2).rank for seed in fresh]
    return fmean(score for score, _ in found), fmean(steady for _, steady in found)


def _best(one: Known, seed: str) -> float:
    return max(one.validation[seed], default=-inf)
