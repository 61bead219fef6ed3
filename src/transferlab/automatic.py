"""`strategy=auto`: the strategy and the rate of a run, chosen by a small search before it trains."""

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from transferlab import nodes, results
from transferlab.errors import DivergedError, InputError
from transferlab.halving.brackets import bracket
from transferlab.halving.judging import check, is_behind, reached
from transferlab.halving.search import LOST, Purse, Reached, Search, search
from transferlab.results import Record
from transferlab.seeding import derive
from transferlab.selection.rules import Rule

_TARGET = "transferlab.automatic.Automatic"
_TWINS = {True: "scratch", False: "source_only"}
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Automatic:
    """What is chosen from, and how much may be spent on it; it stands where a run's strategy stands.

    Attributes:
        candidates: strategies by name, among them the twin that they are held against: `scratch`, or where the target
            has no labels `source_only`.
        rates: of `optimizer.lr`, each with each strategy; none: the run's own.
        runs: the budget: as many epochs as so many whole runs have.
        factor: as in `halving.brackets.bracket`.
        first: likewise.

    Raises:
        InputError: a budget or a rate that is no number above 0.
    """

    candidates: Mapping[str, Any]
    rates: Sequence[float]
    runs: float
    factor: int
    first: int

    def __post_init__(self) -> None:
        if not self.runs > 0:
            raise InputError(f"strategy.runs={self.runs}: a number above 0")
        if not all(rate > 0 for rate in self.rates):
            raise InputError(f"strategy.rates={list(self.rates)}: numbers above 0")


def is_asked(config: DictConfig) -> bool:
    """Whether a run's strategy is to be chosen."""
    return str(config.strategy.get("_target_")) == _TARGET


def taken(config: DictConfig, record: Record, train: Callable[[DictConfig], Record]) -> DictConfig:
    """The config with the strategy and the rate that are chosen, by validation alone; the record is told of it.

    Candidates are runs of a study of their own, trained under the run's seed, paused and taken up again. If none beats
    the twin after as many epochs, it is the twin.

    Args:
        config: of the run.
        record: of the run.
        train: does a run, or goes on with it.

    Raises:
        InputError: nothing to choose from, a rule that cannot choose, a budget that is too small, or all failed.
    """
    auto: Automatic = nodes.build(config.strategy)
    rule: Rule = nodes.build(config.selection)
    check(rule)
    climb = _Climb(config, auto, rule, train)
    twin = _TWINS[str(config.target.labels) != "none"]
    twins = {name for name, (strategy, _) in climb.candidates.items() if strategy == twin}
    if not twins or len(climb.candidates) < 2:
        raise InputError(
            f"strategy=auto chooses from {', '.join(auto.candidates)}: {twin} must be among several, for the others to "
            f"be held against; +strategy@strategy.candidates.{twin}={twin} adds it"
        )
    whole = int(config.trainer.max_epochs)
    plan = bracket(len(climb.candidates), whole, auto.runs * whole, auto.factor, min(auto.first, whole))
    found = search(_ordered(climb.candidates, twins, int(config.seed)), twins, climb, plan, Purse(auto.runs * whole))
    chosen = str(found.best_transfer if found.transfers else found.best_twin)
    if isnan(found.rungs[-1].reached[chosen].score):
        raise InputError(f"strategy=auto: no candidate could be trained; the last said: {climb.reason}")
    strategy, rate = climb.candidates[chosen]
    _log.info("strategy=auto takes %s", said := _said(chosen, found))
    record["chosen"] = {
        "reason": said,
        "strategy": strategy,
        "optimizer.lr": rate,
        "transfers": found.transfers,
        "candidates": [climb.runs[name] for name in found.rungs[0].reached],
        "rungs": [
            {"epochs": rung.epochs, "scores": {climb.runs[name]: one.score for name, one in rung.reached.items()}}
            for rung in found.rungs
        ],
        "epochs": found.epochs,
        "seconds": round(climb.seconds(), 3),
    }
    return _with(config, strategy, rate)


@dataclass
class _Climb:
    """Trains candidates in this process, one after another."""

    config: DictConfig
    auto: Automatic
    rule: Rule
    train: Callable[[DictConfig], Record]
    runs: dict[str, str] = field(default_factory=dict)
    rungs: dict[str, int] = field(default_factory=dict)
    reason: str = ""

    @property
    def candidates(self) -> dict[str, tuple[str, float]]:
        """Strategy and rate of each, by name."""
        rates = [float(rate) for rate in self.auto.rates] or [float(self.config.optimizer.lr)]
        return {f"{name} optimizer.lr={rate:g}": (name, rate) for name in self.auto.candidates for rate in rates}

    def __call__(self, names: Sequence[str], epochs: int) -> dict[str, Reached]:
        """As `halving.search.Evaluate`."""
        return {name: self._reached(name, epochs) for name in names}

    def seconds(self) -> float:
        """That all candidates took."""
        folders = (results.folder(self._config(name)) for name in self.runs)
        found = (results.read(folder) for folder in folders)
        return sum(float(record["cost"]["seconds"]) for record in found if record is not None)

    def _reached(self, name: str, epochs: int) -> Reached:
        config = self._config(name)
        folder = results.folder(config)
        self.runs[name] = folder.name
        before, self.rungs[name] = self.rungs.get(name, 0), epochs
        record = results.read(folder)
        if is_behind(record, epochs):
            config.pause_at = epochs if epochs < int(self.config.trainer.max_epochs) else None
            try:
                record = self.train(config)
            except (InputError, DivergedError) as error:
                self.reason = str(error)
                _log.warning("strategy=auto does without %s: %s", name, error)
                return LOST
        if record is None or record["status"] == "diverged":
            return LOST
        return reached(record["history"], self.rule, epochs, before)

    def _config(self, name: str) -> DictConfig:
        """Of an ordinary run, with the id that it has by itself."""
        strategy, rate = self.candidates[name]
        found = _with(self.config, strategy, rate)
        with open_dict(found):
            found.axes = {**OmegaConf.to_container(self.config.axes, resolve=True), "strategy": strategy}  # type: ignore[dict-item]
            found.study, found.oracle, found.twins, found.pause_at = results.CANDIDATES, False, False, None
        return found


def _with(config: DictConfig, strategy: str, rate: float) -> DictConfig:
    found = copy.deepcopy(config)
    with open_dict(found):
        found.strategy = config.strategy.candidates[strategy]
        found.optimizer.lr = rate
    return found


def _ordered(candidates: Mapping[str, Any], twins: set[str], seed: int) -> list[str]:
    """Drawn by the seed, and a twin first."""
    names = sorted(candidates, key=lambda name: derive(seed, "candidate", name))
    first = next(name for name in names if name in twins)
    return sorted(names, key=lambda name: name != first)


def _said(chosen: str, found: Search) -> str:
    rung = found.rungs[-1]
    score = rung.reached[chosen].score
    why = f"after {rung.epochs} epochs its score is {score:.4f}, the best"
    if not found.transfers:
        why = f"after {rung.epochs} epochs nothing beats it (score {score:.4f}), so that no transfer is chosen"
    return f"{chosen}: {why} of {len(found.rungs[0].reached)} candidates in {found.epochs} epochs"
