"""What the page embeds: the comparison's tables column by column, and nothing that the page can derive."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from transferlab.compare.budgets import COSTS
from transferlab.compare.comparison import Comparison
from transferlab.compare.page.configs import configs_of
from transferlab.compare.page.curves import Floats, bands_of, curves_of, timelines_of
from transferlab.compare.page.values import Columns, columns, plain
from transferlab.compare.settings import SETTING

_BY_SETTING = ("table", "verdicts", "honest", "rules", "diagnostics")
# their settings are wider: what is tuned, or the label budget, is no part of them
_TABLES = (*_BY_SETTING, "overall", "rule_quality", "trials", "efficiency", "foretold")


def data_of(comparison: Comparison) -> tuple[dict[str, Any], str]:
    """The comparison as JSON can hold it, and the block of numbers that its curves point into.

    A table of one source, target and backbone a row has their number in `setting` instead.
    """
    study, floats = comparison.study, Floats()
    settings = {key: number for number, key in enumerate(_settings(comparison.table))}
    runs = [study.runs[name] for name in study.table["run_id"]]
    shown = {name: frame for name in _TABLES if not (frame := getattr(comparison, name)).empty}
    values = {
        "study": study.name,
        "metric": {
            "name": comparison.metric.name,
            "label": comparison.metric.label,
            "sign": comparison.metric.sign,
            "share": comparison.metric.is_share,
        },
        "baseline": comparison.baseline,
        "row": "strategy" if comparison.by == ("strategy",) else ", ".join(comparison.by),
        "settings": [" → ".join(key[:2]) + f", {key[2]}" for key in settings],
        "costs": COSTS,
        **{name: numbered(frame, settings) if name in _BY_SETTING else columns(frame) for name, frame in shown.items()},
        "ranks": _ranks(comparison),
        "runs": numbered(study.table, settings),
        "configs": configs_of(runs),
        "bands": bands_of(comparison.bands, settings, floats),
        "timelines": timelines_of(comparison, settings, floats),
        "curves": curves_of(runs, comparison.metric.name, floats),
        "left_out": [[item.where, item.kind, item.reason] for item in study.left_out],
    }
    return values, floats.text()


def numbered(frame: pd.DataFrame, settings: Mapping[tuple[str, ...], int]) -> Columns:
    """A table's columns, with the number of the setting in place of its three."""
    places = [settings[key] for key in zip(*(frame[axis] for axis in SETTING), strict=True)]
    return {"setting": places, **columns(frame.drop(columns=SETTING))}


def _settings(table: pd.DataFrame) -> list[tuple[str, ...]]:
    return list(dict.fromkeys(zip(*(table[axis] for axis in SETTING), strict=True)))


def _ranks(comparison: Comparison) -> dict[str, Any] | None:
    ranks = comparison.ranks
    if ranks is None:
        return None
    return {
        "strategy": [str(name) for name in ranks.mean.index],
        "mean": [float(value) for value in ranks.mean],
        **{key: plain(getattr(ranks, key)) for key in ("tasks", "chi2", "p", "f", "f_p", "critical_difference")},
        "cliques": ranks.cliques,
    }
