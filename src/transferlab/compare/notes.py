"""What a reader must know to read the tables rightly, in sentences."""

from collections.abc import Sequence

import pandas as pd

from transferlab.compare.metric import Metric
from transferlab.compare.records import Study
from transferlab.compare.rules import ORACLE
from transferlab.compare.settings import SETTING
from transferlab.compare.verdicts import FEWEST_SEEDS, SOURCE_ONLY
from transferlab.compare.wording import listed


def notes_of(
    study: Study, table: pd.DataFrame, baseline: str, asked: str | None, left: Sequence[str], metric: Metric
) -> tuple[str, ...]:
    """What a reader must know to read the tables rightly; only what applies."""
    notes = []
    seeds = int(table["paired_seeds"].max())
    notes += _few(table, baseline)
    if any(run.config.get("target.folds") is not None for run in study.runs.values()):
        notes.append("Blocks are folds here: they share training samples, so that intervals and p are too optimistic.")
    if asked is None and baseline != "scratch" and len(table) > 1:
        notes.append(f"No row is named scratch: differences are to {baseline} (--baseline names another).")
    if 2 <= seeds < 6:
        smallest = 2 / 2**seeds
        notes.append(
            f"{seeds} paired seeds cannot give a permutation or Wilcoxon p below {smallest:.3g}, whatever the "
            "difference; 6 are the fewest that can fall below 0.05. The intervals assume normal differences instead."
        )
    uneven = table[(table["paired_seeds"] > 0) & (table["paired_seeds"] < table["seeds"])]
    if len(uneven):
        named = ", ".join(dict.fromkeys(uneven["strategy"]))
        notes.append(f"Not all seeds are shared with {baseline}: {named} is paired on the common ones alone.")
    lonely = table[(table["paired_seeds"] == 0) & (table["strategy"] != baseline)]
    without = lonely.groupby(SETTING).filter(lambda group: baseline not in _names(table, group[SETTING].iloc[0]))
    for target in dict.fromkeys(without["target"]):
        notes.append(f"{target} has no run of {baseline}, so nothing is paired there.")
    if left:
        notes.append(f"Not in every setting, and so not in the overall table: {', '.join(left)}.")
    if shared := _one_target(table):
        notes.append(
            f"{shared} settings share a target with another: ranks take such settings as one task, the interquartile "
            "mean and the probability of improvement as several, which makes their intervals too narrow."
        )
    notes += _unequal(study)
    if others := sum(item.kind in ("no metric", "no number") for item in study.left_out):
        notes.append(f"{others} finished runs have no {metric.name} and are left out; --metric names another.")
    return tuple(notes)


def rule_notes(ruled: pd.DataFrame, quality: pd.DataFrame, study: Study) -> list[str]:
    """What to mind of selection rules; nothing where no run says what they would have chosen.

    Args:
        ruled: as `rules.chosen` gives it.
        quality: as `rules.quality` gives it.
        study: that both are of.
    """
    if quality.empty:
        return []
    said = ruled[ruled["rule"] != ORACLE]
    tested = set(said["run_id"]) - set(said.loc[said["score"].isna(), "run_id"])
    without = [name for name in study.table["run_id"] if name not in tested]
    notes = []
    if without:
        notes.append(
            f"{len(without):,} of {len(study.table):,} runs have no {study.metric} of what each selection rule would "
            f"have chosen (rules=all with oracle=true gives it) and count for none: {listed(without)}."
        )
    if tested and len(quality) > 1 and not quality["cells"].any():
        notes.append(
            f"No strategy has {SOURCE_ONLY} beside it with its setting, budget and seeds, so that the overhead of "
            "honesty of selection rules is not known."
        )
    return notes


def _few(table: pd.DataFrame, baseline: str) -> list[str]:
    """The rows of which nothing can be concluded, alone or beside the baseline."""
    alone = table[table["seeds"] < FEWEST_SEEDS]
    beside = table[(table["strategy"] != baseline) & (table["seeds"] >= FEWEST_SEEDS)]
    beside = beside[beside["paired_seeds"] < FEWEST_SEEDS]
    beside = beside[[baseline in _names(table, row) for _, row in beside[SETTING].iterrows()]]
    found = []
    if len(alone):
        named = ", ".join(dict.fromkeys(alone["strategy"]))
        found.append(f"Fewer than {FEWEST_SEEDS} seeds: nothing can be concluded from {named}.")
    if len(beside):
        named = ", ".join(dict.fromkeys(beside["strategy"]))
        found.append(
            f"Fewer than {FEWEST_SEEDS} seeds in common with {baseline}: no difference can be judged of {named}."
        )
    return found


def _one_target(table: pd.DataFrame) -> int:
    """How many settings differ in more than source, target and backbone from another, say in the label budget."""
    settings = table[SETTING].drop_duplicates()
    first = settings.assign(target=settings["target"].str.split(" ").str[0])
    return int(first.duplicated(keep=False).sum())


def _names(table: pd.DataFrame, setting: pd.Series) -> Sequence[str]:
    """The rows of a setting."""
    return list(table.loc[(table[SETTING] == setting).all(axis=1), "strategy"])


def _unequal(study: Study) -> list[str]:
    """Budgets that differ between strategies of one setting without varying within any of them."""
    found: dict[str, dict[str, set[str]]] = {}
    for _, group in study.table.groupby(SETTING):
        for key in ("trainer.max_epochs", "trainer.max_steps", "batch_size", "optimizer._target_", "optimizer.lr"):
            values: dict[str, set[str]] = {}
            for name, strategy in zip(group["run_id"], group["strategy"], strict=True):
                values.setdefault(strategy, set()).add(str(study.runs[name].config.get(key)))
            if len(set().union(*values.values())) > 1 and all(key not in strategy for strategy in values):
                for strategy, having in values.items():
                    found.setdefault(key, {}).setdefault(strategy, set()).update(having)
    return [
        f"{key} is not the same for all strategies: "
        + ", ".join(f"{strategy} {'/'.join(sorted(values))}" for strategy, values in having.items())
        + "."
        for key, having in found.items()
    ]
