"""Everything a comparison says, as text that a paper could print: one sheet a topic and setting."""

import pandas as pd

from transferlab.compare.comparison import Comparison
from transferlab.compare.sheets.beyond import diagnostics, foretold, left_out, overall, ranks
from transferlab.compare.sheets.costs import cost, efficiency, selection, tuning
from transferlab.compare.sheets.rules import rule_quality, rules
from transferlab.compare.sheets.scores import differences, scores, summary, verdicts
from transferlab.compare.sheets.sheet import Sheet

__all__ = ["HEADINGS", "Sheet", "frames", "sheets"]

HEADINGS = {
    "summary": "Summary",
    "overall": "Over all settings",
    "ranks": "Mean ranks",
    "scores": "Scores",
    "differences": "Differences to the baseline",
    "verdicts": "Does it transfer?",
    "cost": "Cost",
    "selection": "Selection",
    "rules": "Selection rules",
    "rule_quality": "Selection rules against the oracle",
    "tuning": "Tuning",
    "efficiency": "Labels",
    "foretold": "Scores of transferability",
    "diagnostics": "Diagnostics",
    "left_out": "Left out",
}
"""What each topic is called, in the order of a report."""
_TOPICS = (
    summary,
    overall,
    ranks,
    scores,
    differences,
    verdicts,
    cost,
    selection,
    rules,
    rule_quality,
    tuning,
    efficiency,
    foretold,
    diagnostics,
    left_out,
)


def sheets(comparison: Comparison) -> list[Sheet]:
    """Every sheet that has a row; those of one topic follow each other, one a setting."""
    return [sheet for topic in _TOPICS for sheet in topic(comparison)]


def frames(comparison: Comparison) -> dict[str, pd.DataFrame]:
    """One table a topic, those of several settings stacked under a first column `setting`."""
    topics: dict[str, list[Sheet]] = {}
    for sheet in sheets(comparison):
        topics.setdefault(sheet.name, []).append(sheet)
    return {name: _stacked(found) for name, found in topics.items()}


def _stacked(found: list[Sheet]) -> pd.DataFrame:
    if len(found) == 1:
        return found[0].frame()
    parts = []
    for sheet in found:
        part = sheet.frame()
        part.insert(0, "setting", sheet.title)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)
