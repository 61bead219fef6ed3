"""Does it transfer? Each strategy against its twins: the same seeds, budget and data without the transfer."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from transferlab.compare.runs import Run
from transferlab.compare.settings import SETTING
from transferlab.compare.statistics import CONFIDENCE, student
from transferlab.compare.table import by_seed, differences

TRANSFERS, NO_EVIDENCE, HARMS = "transfers", "no evidence", "harms"
FEWEST_SEEDS = 3
# The twin that learns from the target alone, and the first found of those that take the source as it is.
TARGET_ONLY = "scratch"
SOURCE_ONLY = "source_only"
SOURCE_AS_IT_IS = (SOURCE_ONLY, "linear_probe")
# A twin must agree in these; its learning rate may be its own, as its strategy is.
_BUDGET_AND_DATA = ("target.", "backbone.", "task.", "trainer.max_epochs", "trainer.max_steps", "batch_size")


def verdicts(runs: pd.DataFrame, records: Mapping[str, Run], sign: int = 1) -> pd.DataFrame:
    """Judge every strategy against its scratch twin and its source-only or linear-probe twin.

    Negative transfer is doing worse than the target alone (Wang et al. 2019, arXiv:1811.09751). The paired Student
    interval is widened for all verdicts of a setting (Bonferroni), so that where nothing differs, in 95 of 100 settings
    none of them says otherwise. It is all above 0: `transfers`; all below: `harms`; else `no evidence`.

    Args:
        runs: one row a run.
        records: the runs, by id.
        sign: 1 where more is better, -1 where less is.

    Returns:
        One row a strategy and twin: setting, strategy, twin, verdict, difference, low, high (in the metric's unit),
        paired_seeds, confidence, reason (why there is no verdict).
    """
    rows: list[dict[str, Any]] = []
    for setting, group in runs.groupby(SETTING, sort=False):
        judged = [
            (twins, *one)
            for twins in _kinds(records[group["run_id"].iloc[0]])
            for one in _judged(group, _candidates(runs, group, twins, records), twins, records)
        ]
        family = sum(twin is not None for *_, twin, _ in judged)
        rows += [
            {**dict(zip(SETTING, setting, strict=True)), **_row(name, part, twin, why, twins, family, sign)}
            for twins, name, part, twin, why in judged
        ]
    columns = [*SETTING, "strategy", "twin", "verdict", "difference", "low", "high", "paired_seeds", "confidence"]
    return pd.DataFrame(rows, columns=[*columns, "reason"])


def _kinds(run: Run) -> Sequence[tuple[str, ...]]:
    """The twins that can be: a target without labels is nothing to learn from alone."""
    alone = () if run.config.get("target.labels") == "none" else ((TARGET_ONLY,),)
    return (*alone, SOURCE_AS_IT_IS)


def _judged(
    group: pd.DataFrame, candidates: pd.DataFrame, twins: Sequence[str], records: Mapping[str, Run]
) -> list[tuple[str, pd.DataFrame, pd.DataFrame | None, str]]:
    """Each strategy that is no such twin itself: its name, its runs, its twin's, or why there are none."""
    variants = [part for _, part in candidates.groupby([*SETTING, "strategy"])] if len(candidates) else []
    return [
        (str(name), part, *twin_of(part, variants, records))
        for name, part in group.groupby("strategy")
        if part["method"].iloc[0] not in (TARGET_ONLY, *twins)
    ]


def _candidates(
    runs: pd.DataFrame, group: pd.DataFrame, twins: Sequence[str], records: Mapping[str, Run]
) -> pd.DataFrame:
    """Runs of the twin's method in the setting; a net trained from scratch may stand under another source."""
    for twin in twins:
        found = group[group["method"] == twin]
        if len(found):
            return found
    if twins != (TARGET_ONLY,):
        return group[:0]
    elsewhere = runs[runs["method"] == TARGET_ONLY]
    # there the budgets may make its variants, not settings: the axes say the target, `_differs` looks at the budget
    own = records[group["run_id"].iloc[0]].axes
    alike = [
        all(records[name].axes[axis] == own[axis] for axis in ("target", "backbone")) for name in elsewhere["run_id"]
    ]
    return elsewhere[alike]


def twin_of(
    part: pd.DataFrame, variants: Sequence[pd.DataFrame], records: Mapping[str, Run]
) -> tuple[pd.DataFrame | None, str]:
    """The variant of the twin that has the strategy's budget and data, or why there is none.

    Args:
        part: the runs of a strategy.
        variants: of the twin, the runs of each.
        records: the runs, by id.
    """
    if not variants:
        return None, "not run; twins=true adds it to a sweep"
    own, reason = part["run_id"].iloc[0], ""
    wanted = records[own].identity
    alike = []
    for other in variants:
        twin = other["run_id"].iloc[0]
        if different := _differs(records[own], records[twin]):
            reason = f"differs in {', '.join(different)}"
        else:
            agreeing = sum(wanted.get(key) == value for key, value in records[twin].identity.items())
            alike.append((agreeing, other))
    if not alike:
        return None, reason
    return max(alike, key=lambda item: item[0])[1], ""


def _differs(own: Run, twin: Run) -> list[str]:
    keys = dict.fromkeys(key for run in (own, twin) for key in run.config if key.startswith(_BUDGET_AND_DATA))
    return [key for key in keys if key != "target.fold" and own.config.get(key) != twin.config.get(key)]


def _row(
    name: str, part: pd.DataFrame, twin: pd.DataFrame | None, why: str, twins: Sequence[str], family: int, sign: int
) -> dict[str, Any]:
    empty = {"verdict": None, "difference": None, "low": None, "high": None, "paired_seeds": 0, "confidence": None}
    if twin is None:
        return {"strategy": name, "twin": twins[-1], **empty, "reason": why}
    found = differences(by_seed(part), by_seed(twin))
    named = {"strategy": name, "twin": str(twin["strategy"].iloc[0])}
    if not found:
        return {**named, **empty, "reason": "no common seed"}
    confidence = 1 - (1 - CONFIDENCE) / family
    enough = len(found) >= FEWEST_SEEDS
    interval = student(found, confidence)
    low, high = sorted((sign * interval.low, sign * interval.high))
    verdict = TRANSFERS if low > 0 else HARMS if high < 0 else NO_EVIDENCE
    return {
        **named,
        "verdict": verdict if enough else None,
        "difference": interval.mean,
        "low": interval.low if enough else None,
        "high": interval.high if enough else None,
        "paired_seeds": len(found),
        "confidence": confidence,
        "reason": "" if enough else f"{len(found)} common seed{'s' * (len(found) > 1)}, 3 are needed",
    }
