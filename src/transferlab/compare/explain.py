"""What the numbers say, in sentences: who scored best, how surely, and what it did differently."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from transferlab.compare.metric import Metric
from transferlab.compare.runs import Run
from transferlab.compare.settings import SETTING
from transferlab.compare.statistics import CONFIDENCE, student
from transferlab.compare.table import by_seed, differences
from transferlab.compare.verdicts import FEWEST_SEEDS

# name of a diagnostic -> (what a higher value says, what a lower one says), of the winner beside the others
_WORDS = {
    "relative_drift": ("moved further from its start", "moved less from its start"),
    "cka": ("kept features more like the source's", "changed its features more, away from the source's"),
    "feature_rank": ("used more directions of its features", "used fewer directions of its features"),
    "gradient_cosine": ("had losses that pulled more alike", "had losses that pulled against each other more"),
    "calibration_error": ("was less well calibrated", "was better calibrated"),
    "forgetting": ("forgot more of the source", "forgot less of the source"),
}
_DIAGNOSTICS = "diagnostics/"
PROBE = "samples"
"""Of the diagnostics the one that is no finding: how many samples were looked at."""
_OF_A_PROBE = ("feature_rank", "cka")
# How far a winner must stand apart to be called different: in standard deviations over seeds, and in shares of a value.
_APART, _WORTH_SAYING = 2.0, 0.05


def diagnostics_of(runs: pd.DataFrame, records: Mapping[str, Run]) -> pd.DataFrame:
    """What was measured beside the scores, at the last epoch that has it; forgetting is the source accuracy lost.

    Returns:
        One row a strategy and name: setting, strategy, name (as in the history, without `diagnostics/`), mean, sd,
        runs.
    """
    rows = []
    for key, group in runs.groupby([*SETTING, "strategy"], sort=False):
        values: dict[str, list[float]] = {}
        for name in group["run_id"]:
            for what, value in _measured(records[name]):
                values.setdefault(what, []).append(value)
        for what, found in values.items():
            sd = float(np.std(found, ddof=1)) if len(found) > 1 else float("nan")
            setting = dict(zip([*SETTING, "strategy"], key, strict=True))
            rows.append({**setting, "name": what, "mean": float(np.mean(found)), "sd": sd, "runs": len(found)})
    return pd.DataFrame(rows, columns=[*SETTING, "strategy", "name", "mean", "sd", "runs"])


def winners(
    table: pd.DataFrame,
    verdicts: pd.DataFrame,
    measured: pd.DataFrame,
    runs: pd.DataFrame,
    metric: Metric,
    baseline: str,
) -> dict[str, str]:
    """One paragraph for each setting: who scored best, how surely, and what it did differently."""
    found = {}
    for setting, group in table.groupby(SETTING, sort=False):
        source, target, backbone = setting
        name = f"{source} -> {target}, {backbone}"
        if len(group) < 2:
            found[name] = f"{group['strategy'].iloc[0]} is alone here: nothing to compare it with."
            continue
        best = group.iloc[0]
        scores = {
            str(row): by_seed(part)
            for row, part in runs[(runs[SETTING] == list(setting)).all(axis=1)].groupby("strategy")
        }
        sentences = [
            f"{best['strategy']} has the best mean, {metric.text(best['mean'])}"
            f"{metric.interval(best['low'], best['high'])} ({metric.label}).",
            _beside(best["strategy"], group["strategy"].iloc[1], scores, len(group) - 1, metric),
            _beside(best["strategy"], baseline, scores, len(group) - 1, metric, best["seeds_to_settle"])
            if baseline not in (best["strategy"], group["strategy"].iloc[1])
            else "",
            *_judged(best["strategy"], setting, verdicts, metric),
            _apart(best["strategy"], setting, measured),
        ]
        found[name] = " ".join(filter(None, sentences))
    return found


def _beside(
    best: str,
    other: str,
    scores: Mapping[str, Mapping[Any, float]],
    rivals: int,
    metric: Metric,
    needed: float = float("nan"),
) -> str:
    """How surely the winner differs from another: the paired interval, widened for all that it won against."""
    if other not in scores:
        return ""
    paired = differences(scores[best], scores[other])
    if len(paired) < FEWEST_SEEDS:
        count = f"{len(paired)} seed{'s' * (len(paired) != 1)}"
        return f"With {count} in common nothing can be said of it beside {other}."
    if not any(paired):
        return f"{other} scores the same under every seed."
    interval = student(paired, 1 - (1 - CONFIDENCE) / rivals)
    told = f"{metric.text(interval.mean, '+')}{metric.interval(interval.low, interval.high, '+')}"
    widened = f", an interval widened for {rivals} comparisons" if rivals > 1 else ""
    if interval.low > 0 or interval.high < 0:
        return f"Paired by seed it differs from {other} by {told}{widened}."
    settle = "" if np.isnan(needed) else "; if difference and spread are what they seem, "
    if settle:
        settle += (
            f"{int(needed)} seeds would settle it" if np.isfinite(needed) else "no number of seeds would settle it"
        )
    return f"Paired by seed it cannot be told from {other}: {told}{widened}{settle}."


def _judged(strategy: str, setting: Any, verdicts: pd.DataFrame, metric: Metric) -> list[str]:
    rows = verdicts[(verdicts["strategy"] == strategy) & (verdicts[SETTING] == list(setting)).all(axis=1)]
    rows = rows[rows["verdict"].notna()]
    return [f"Against {row['twin']} the verdict is: {row['verdict']}." for _, row in rows.iterrows()]


def _apart(strategy: str, setting: Any, measured: pd.DataFrame) -> str:
    """In which diagnostics the winner stands apart from all others; without a spread over seeds nothing is said."""
    here = measured[(measured[SETTING] == list(setting)).all(axis=1)]
    looked = here[here["name"] == PROBE].set_index("strategy")["mean"]
    said: dict[str, list[str]] = {}
    compared = False
    for name, group in here.groupby("name", sort=False):
        kind, _, where = str(name).partition("/")
        own, others = group[group["strategy"] == strategy], group[group["strategy"] != strategy]
        if kind not in _WORDS or own.empty or others.empty or group["runs"].min() < FEWEST_SEEDS:
            continue
        if kind in _OF_A_PROBE and looked.reindex(group["strategy"]).nunique(dropna=False) > 1:
            continue  # of another number of samples it would be another number
        compared = True
        value, least, most = float(own["mean"].iloc[0]), float(others["mean"].min()), float(others["mean"].max())
        nearest = most if value > most else least
        gap = max(_APART * float(group["sd"].max()), _WORTH_SAYING * abs(nearest))
        if value > most + gap or value < least - gap:
            words = _WORDS[kind][0 if value > most else 1]
            where = f"{where} " if where else ""
            beside = "the other" if len(others) == 1 else f"the nearest of {len(others)} others"
            said.setdefault(words, []).append(f"{where}{value:.3g}, {beside} {nearest:.3g}")
    if not compared:
        return ""
    if not said:
        return "No diagnostic sets it apart from all others measured by two standard deviations over seeds."
    told = "; ".join(f"it {words} ({'; '.join(values)})" for words, values in said.items())
    return f"What set it apart from the others: {told}. These are differences, not causes."


def _measured(run: Run) -> list[tuple[str, float]]:
    found = []
    for key, values in run.curves.values.items():
        known = values[~np.isnan(values)]
        if key.startswith(_DIAGNOSTICS) and len(known):
            found.append((key.removeprefix(_DIAGNOSTICS), float(known[-1])))
    forgotten = run.forgetting or {}
    before, after = forgotten.get("source_accuracy_before"), forgotten.get("source_accuracy_after")
    if before is not None and after is not None:
        found.append(("forgetting", float(before) - float(after)))
    return found
