"""Which runs of a study may be averaged with one another. No torch."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from transferlab import results
from transferlab.compare.runs import flat
from transferlab.compare.settings import DATA_AND_NET, differing_keys
from transferlab.directions import sign
from transferlab.errors import InputError, unknown
from transferlab.folders import shipped
from transferlab.results import Record

_AXES = ("source", "target", "backbone")
# what all ingredients have in common, beside the seed: what is learned from what, by which net, chosen by what
_NODES = ("source", "target", "task", "backbone", "selection")
# of a soup's config, what is the group's own and not the family's
_OWN = ("study", "paths", "axes", "seed", "target")


@dataclass(frozen=True)
class Finished:
    """A finished run on disk, a soup perhaps."""

    folder: Path
    record: Record

    @property
    def run_id(self) -> str:
        """Of its record."""
        return str(self.record["run_id"])

    @property
    def strategy(self) -> str:
        """The name of its strategy."""
        return str(self.record["axes"]["strategy"])

    @property
    def is_soup(self) -> bool:
        """Whether it was averaged from others."""
        return "soup" in self.record

    @property
    def group(self) -> str:
        """Equal in runs that may be averaged: source and its weights, target, task, backbone, selection, seed."""
        return self._told(self.record["config"]["target"], self.record["config"]["seed"])

    @property
    def family(self) -> str:
        """Equal in groups that differ in seed and fold alone."""
        target = self.record["config"]["target"]
        return self._told({key: value for key, value in target.items() if key != "fold"}, None)

    def selected(self, metric: str) -> float | None:
        """A score of its selected epoch."""
        found = (self.record["metrics"]["selected"] or {}).get(metric)
        return None if found is None else float(found)

    def _told(self, target: Mapping[str, Any], seed: Any) -> str:
        axes, config = self.record["axes"], self.record["config"]
        # of a pretrained source its run's id, wherever that lies now
        weights = Path(str(self.record["data"].get("source_weights"))).parts[-2:]
        start = [axes[axis] for axis in _AXES], weights
        return json.dumps([start, {**{key: config.get(key) for key in _NODES}, "target": target}, seed], sort_keys=True)


@dataclass(frozen=True)
class Group:
    """Runs that may be averaged.

    Attributes:
        name: its axes, what tells it from other groups of these, and its seed.
        metric: on the held-out labels, by which its runs chose their epochs.
        ingredients: the best by that metric first.
        config: what the configs of its family have in common, with its own seed and fold.
        validated: whether labels are held out.
    """

    name: str
    metric: str
    ingredients: Sequence[Finished]
    config: Mapping[str, Any]
    validated: bool

    @property
    def best(self) -> Finished:
        """The ingredient with the best score on the held-out labels."""
        return self.ingredients[0]

    @property
    def tested(self) -> str:
        """The task's metric on the test split."""
        return f"test/{self.best.record['config']['task']['metric']}"


def finished(study: Path) -> list[Finished]:
    """The finished runs of a study, soups among them.

    Raises:
        InputError: there is none.
    """
    found = [Finished(file.parent, results.read(file.parent) or {}) for file in sorted(study.glob("*/run.json"))]
    found = [run for run in found if run.record.get("status") == "finished"]
    if not found:
        raise InputError(f"there is no finished run in {study}; name a study, or the folder of one")
    return sorted(found, key=lambda run: (run.record["axes"]["seed"], run.strategy, run.run_id))


def ingredients(runs: Sequence[Finished], strategies: Sequence[str]) -> tuple[list[Finished], list[str]]:
    """The runs that may be averaged with others, and sentences on those that may not.

    Args:
        runs: of a study; soups and pretraining among them are passed over.
        strategies: whose runs are wanted; none: all.

    Raises:
        InputError: no run is of such a strategy.
    """
    own = [
        run for run in runs if not run.is_soup and run.record["study"] not in (results.PRETRAINING, results.CANDIDATES)
    ]
    for name in strategies:
        if name not in (known := dict.fromkeys(run.strategy for run in own)):
            raise unknown("strategy among these runs", name, known)
    wanted = [run for run in own if not strategies or run.strategy in strategies]
    unfit = {run.run_id: reason for run in wanted if (reason := _unfit(run))}
    counts = Counter((run.strategy, unfit[run.run_id]) for run in wanted if run.run_id in unfit)
    said = [f"left out: {strategy} ({count}), {reason}" for (strategy, reason), count in counts.items()]
    return [run for run in wanted if run.run_id not in unfit], said


def groups(runs: Sequence[Finished]) -> tuple[list[Group], list[str]]:
    """Runs beside those that they may be averaged with, and sentences on those that are alone."""
    families: dict[str, dict[str, list[Finished]]] = {}
    for run in runs:
        families.setdefault(run.family, {}).setdefault(run.group, []).append(run)
    names = _names(families)
    found, said = [], []
    for family, members in families.items():
        configs = [run.record["config"] for one in members.values() for run in one]
        shared = {**common(configs), "strategy": _strategy([config["strategy"] for config in configs])}
        for one in members.values():
            name = names[family] + _block(one[0])
            if len(one) > 1:
                found.append(_group(name, one, shared))
            else:
                said.append(f"{name}: one run alone, nothing to average it with")
    return found, said


def common(configs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What is alike in all configs; a node of which nothing is alike is left out."""
    first, found = configs[0], {}
    for key, value in first.items():
        others = [config[key] for config in configs if key in config]
        if len(others) < len(configs):
            continue
        if all(isinstance(other, Mapping) and other for other in others):
            if node := common(others):
                found[key] = node
        elif all(other == value for other in others):
            found[key] = value
    return found


def identity(kind: str, group: Group, batchnorm: str) -> str:
    """Ten hexadecimal digits of the hash of what makes a soup: kind, ingredients, how statistics are averaged."""
    told = {"soup": kind, "ingredients": sorted(run.run_id for run in group.ingredients), "batchnorm": batchnorm}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:10]


def _group(name: str, runs: Sequence[Finished], shared: Mapping[str, Any]) -> Group:
    config = runs[0].record["config"]
    metric = str(config["selection"].get("metric"))
    metric = metric if metric.startswith("val/") else f"val/{config['task']['metric']}"

    def order(run: Finished) -> tuple[float, str]:
        score = run.selected(metric)
        return (float("inf") if score is None or isnan(score) else -sign(metric) * score, run.run_id)

    ordered = sorted(runs, key=order)
    own = {key: ordered[0].record["config"][key] for key in _OWN}
    validated = any(key.startswith("val/") for key in ordered[0].record["metrics"]["selected"] or {})
    return Group(name, metric, ordered, {**shared, **own}, validated)


def _unfit(run: Finished) -> str:
    """Why a run is averaged with no other; empty where it may be."""
    if run.record["data"].get("source_weights") is None:
        return "which started from random weights and not from a source"
    if "chosen" in run.record:
        return "whose strategy was chosen for it alone"
    return "" if (run.folder / results.SELECTED).is_file() else f"whose {results.SELECTED} is gone"


def _strategy(nodes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A whole node: what all strategies have alike, for the rest what every strategy has; no adapter."""
    folder = shipped("conf") / "strategy"
    base = {**_read(folder / "_base.yaml"), "freezing": _read(folder / "freezing" / "full.yaml")}
    alike = {key: value for key, value in nodes[0].items() if all(node.get(key) == value for node in nodes)}
    return {**base, **alike, "adapter": None}


def _read(file: Path) -> dict[str, Any]:
    node = OmegaConf.to_container(OmegaConf.load(file))
    assert isinstance(node, dict)
    return {str(key): value for key, value in node.items()}


def _names(families: Mapping[str, Mapping[str, Sequence[Finished]]]) -> dict[str, str]:
    """Source, target and backbone of each family, with what tells families of these apart."""
    first = {family: next(iter(members.values()))[0] for family, members in families.items()}
    axes = {family: tuple(str(run.record["axes"][axis]) for axis in _AXES) for family, run in first.items()}
    given = {
        family: {key: str(value) for key, value in flat(run.record["config"]) if key.startswith(DATA_AND_NET)}
        for family, run in first.items()
    }
    names = {}
    for family, (source, target, backbone) in axes.items():
        apart = differing_keys([given[other] for other, found in axes.items() if found == axes[family]])
        suffix = "".join(f" {key}={given[family].get(key)}" for key in sorted(apart))
        names[family] = f"{source}->{target} {backbone}{suffix}"
    return names


def _block(run: Finished) -> str:
    target = run.record["config"]["target"]
    fold = "" if target.get("folds") is None else f" fold={target['fold']}"
    return f" seed={run.record['config']['seed']}{fold}"
