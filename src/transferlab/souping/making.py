"""A soup from its ingredients: averaged, scored, and written as a run of the study."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from transferlab import results, soups
from transferlab.compare.budgets import SOUPS
from transferlab.data import duplicates
from transferlab.directions import sign
from transferlab.environment import environment
from transferlab.history import save_weights
from transferlab.record import begin
from transferlab.results import Record
from transferlab.souping.bench import Bench
from transferlab.souping.groups import Finished, Group
from transferlab.soups import State

_SUMS = ("seconds", "fit_seconds", "diagnostics_seconds", "samples", "flops")
_MOST = ("trainable_parameters", "peak_memory_bytes")


def made(kind: str, group: Group, bench: Bench, batchnorm: str, folder: Path) -> Record:
    """Average, score and write a soup; its record comes last, so that half a soup is none.

    Args:
        kind: `greedy`, which chooses on the held-out labels, or `uniform`.
        group: whose ingredients are averaged.
        bench: of the group.
        batchnorm: `averaged` like weights, or `recomputed`.
        folder: of the soup.
    """
    started = time.perf_counter()
    config = {**group.config, "axes": {**group.config["axes"], "strategy": SOUPS[kind]}}
    record = begin(OmegaConf.create(config), folder, environment(bench.accelerator))
    state, kept = _averaged(kind, group.metric, bench, bench.recomputed if batchnorm == "recomputed" else dict)
    validated = bench.validated(state) if group.validated else {}
    tested, report = bench.scored(state)
    save_weights(bench.module, folder / results.SELECTED)
    _write_seen(folder, bench.ingredients)
    last = {"epoch": None, **validated, **tested}
    record.update(
        status="finished",
        reason="",
        config=config,
        overrides=[],
        metrics={"selected": {"rule": SOUPS[kind], **last}, "last": last, "oracle": None},
        report=report,
        data=bench.ingredients[0].record["data"],
        tracker={"kind": "none"},
        soup={
            "kind": kind,
            "batchnorm": batchnorm,
            "metric": group.metric,
            "ingredients": [
                {"run_id": run.run_id, "strategy": run.strategy, "score": run.selected(group.metric), "kept": one}
                for run, one in zip(bench.ingredients, kept, strict=True)
            ],
        },
    )
    record["cost"] |= _cost([run.record["cost"] for run in bench.ingredients])
    record["cost"]["weights_bytes"] = (folder / results.SELECTED).stat().st_size
    record["cost"]["seconds"] = round(record["cost"]["seconds"] + time.perf_counter() - started, 3)
    results.write(folder, record)
    return record


def _averaged(kind: str, metric: str, bench: Bench, settled: Callable[[State], State]) -> tuple[State, list[bool]]:
    """The soup, and which ingredients are in it."""

    def score(state: State) -> float:
        return sign(metric) * bench.validated(state)[metric]

    if kind == "greedy":
        return soups.greedy(bench.states(), score, settled)
    return settled(soups.uniform(bench.states())), [True] * len(bench.ingredients)


def _cost(costs: list[dict[str, Any]]) -> dict[str, Any]:
    """All that the ingredients cost together, kept or not; the parameters of one net."""

    def of(key: str) -> list[Any] | None:
        found = [cost.get(key) for cost in costs]
        return None if None in found else found

    sums = {key: None if (found := of(key)) is None else round(sum(found), 3) for key in _SUMS}
    most = {key: None if (found := of(key)) is None else max(found) for key in _MOST}
    return {**costs[0], **sums, **most, "cache_hits": 0}


def _write_seen(folder: Path, ingredients: list[Finished]) -> None:
    """What the ingredients were trained and selected on, the soup has seen too."""
    seen = [duplicates.seen_by(str(run.folder / results.SELECTED)) for run in ingredients]
    if known := [one for one in seen if one is not None]:
        duplicates.write_seen(folder, known)
