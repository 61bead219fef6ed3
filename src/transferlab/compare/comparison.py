"""From a study to everything that a comparison says of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from transferlab.compare import aggregate, budgets, curves, ranks, rules, table, verdicts
from transferlab.compare.curves import Band, Key, Timeline
from transferlab.compare.explain import diagnostics_of, winners
from transferlab.compare.foretold import foretold
from transferlab.compare.honesty import honest
from transferlab.compare.metric import Metric
from transferlab.compare.notes import notes_of, rule_notes
from transferlab.compare.ranks import Ranks
from transferlab.compare.records import Study
from transferlab.compare.settings import SETTING


@dataclass(frozen=True)
class Comparison:
    """All that the outputs show; each writes it in its own form.

    Attributes:
        study: what was compared, run by run.
        metric: of the scores.
        baseline: the row that the others are paired with.
        by: what the rows are: `strategy`, or the config keys asked for.
        table: one row a strategy in a setting (`table.summarise`), with `rule`, which chose its epochs, and
            `front_<cost>`: nothing beats it for less.
        verdicts: one row a strategy and twin (`verdicts.verdicts`).
        overall: one row a strategy over all settings that all strategies have: settings, runs, iqm, iqm_low, iqm_high,
            improvement, improvement_low, improvement_high (probability of beating the baseline), rank (mean). Empty
            for a single setting.
        ranks: Friedman and Nemenyi, or None.
        honest: one row a strategy (`honesty.honest`).
        rules: one row a strategy and selection rule (`rules.means`); empty where no run says what rules would choose.
        rule_quality: one row a rule (`rules.quality`).
        trials: expected score after k tuning trials (`budgets.trials`); empty where nothing was tuned.
        bands: by setting and strategy, curves by history key.
        timelines: by setting and strategy, what trained when.
        efficiency: score against labels (`curves.efficiency`); empty for one budget.
        diagnostics: one row a strategy and diagnostic, of its last measured epoch (`explain.diagnostics_of`).
        foretold: one row a target, strategy and score of transferability (`foretold.foretold`); empty without rankings.
        winners: a paragraph for each setting, by `source -> target, backbone`.
        notes: sentences on what to mind.
    """

    study: Study
    metric: Metric
    baseline: str
    by: tuple[str, ...]
    table: pd.DataFrame
    verdicts: pd.DataFrame
    overall: pd.DataFrame
    ranks: Ranks | None
    honest: pd.DataFrame
    rules: pd.DataFrame
    rule_quality: pd.DataFrame
    trials: pd.DataFrame
    bands: Mapping[Key, Mapping[str, Band]]
    timelines: Mapping[Key, Timeline]
    efficiency: pd.DataFrame
    diagnostics: pd.DataFrame
    foretold: pd.DataFrame
    winners: Mapping[str, str]
    notes: tuple[str, ...]


def analyse(
    study: Study,
    baseline: str | None = None,
    by: tuple[str, ...] = ("strategy",),
    rankings: Iterable[Mapping[str, Any]] = (),
) -> Comparison:
    """Compare what was read.

    Args:
        study: as `records.load` gives it.
        baseline: a row; None: scratch, else the plainest there is.
        by: what the rows are.
        rankings: of where the runs start, as `scored.rankings` gives them.

    Raises:
        InputError: no row is the baseline asked for.
    """
    runs, metric = study.table, Metric(study.metric)
    chosen = table.baseline_of(runs, baseline)
    summary = table.summarise(runs, chosen, metric.sign)
    for cost in budgets.COSTS:
        summary[f"front_{cost}"] = budgets.front(summary, cost, metric.sign)
    by_strategy = by == ("strategy",)
    tuned = any(budgets.is_tuned(place.varying) for place in study.places.values())
    judged = verdicts.verdicts(runs if by_strategy else runs[:0], study.runs, metric.sign)
    declared = runs["run_id"].map(lambda name: (study.runs[name].metrics["selected"] or {}).get("rule", "not said"))
    honesty = honest(runs, declared)
    summary = summary.merge(honesty[[*SETTING, "strategy", "rule"]], how="left", on=[*SETTING, "strategy"])
    ruled = rules.chosen(study)
    judged_rules = rules.quality(ruled, study.runs, metric.sign)
    measured = diagnostics_of(runs, study.runs)
    one_each = runs if not _tuned_apart(study) else runs[:0]
    overall, ranked, left = _overall(one_each, study, summary, chosen, metric.sign)
    return Comparison(
        study=study,
        metric=metric,
        baseline=chosen,
        by=by,
        table=summary,
        verdicts=judged,
        overall=overall,
        ranks=ranked,
        honest=honesty,
        rules=rules.means(ruled),
        rule_quality=judged_rules,
        trials=budgets.trials(runs if by_strategy and tuned else runs[:0], study.runs, metric.sign),
        bands=curves.bands(runs, study.runs),
        timelines=curves.timelines(runs, study.runs),
        efficiency=curves.efficiency(summary, runs, study.runs),
        diagnostics=measured,
        foretold=foretold(study, rankings, metric.sign),
        winners=winners(summary, judged, measured, runs, metric, chosen),
        notes=(*notes_of(study, summary, chosen, baseline, left, metric), *rule_notes(ruled, judged_rules, study)),
    )


def _tuned_apart(study: Study) -> bool:
    """Whether settings differ in what is tuned, such as the learning rate: those are no tasks of their own."""
    return any(budgets.is_tuned(place.shared) for place in study.places.values())


def _overall(
    runs: pd.DataFrame, study: Study, summary: pd.DataFrame, baseline: str, sign: int
) -> tuple[pd.DataFrame, Ranks | None, list[str]]:
    """Strategies over all settings; those that some setting lacks cannot be ranked and are left out, by name."""
    columns = ["strategy", "settings", "runs", "iqm", "iqm_low", "iqm_high"]
    columns += ["improvement", "improvement_low", "improvement_high", "rank"]
    means = summary.pivot_table(index=SETTING, columns="strategy", values="mean", sort=False)
    left = [str(name) for name in means.columns[means.isna().any()]]
    means = means.drop(columns=left)
    if runs.empty or len(means) < 2 or means.empty:
        return pd.DataFrame(columns=columns), None, left if len(means) > 1 and len(runs) else []
    scores = {
        name: [group["score"].tolist() for _, group in part.groupby(SETTING, sort=True)]
        for name, part in runs.groupby("strategy")
        if name in means.columns
    }
    tasks = _tasks(means, study)
    mean_rank = (-sign * tasks).rank(axis=1).mean()
    rows = []
    for name, values in scores.items():
        iqm = aggregate.interquartile_mean(values)
        row = {"strategy": name, "settings": len(values), "runs": sum(map(len, values)), "rank": mean_rank[name]}
        row |= {"iqm": iqm.mean, "iqm_low": iqm.low, "iqm_high": iqm.high}
        if name != baseline and baseline in scores:
            own, other = ([[sign * x for x in task] for task in side] for side in (values, scores[baseline]))
            better = aggregate.probability_of_improvement(own, other)
            row |= {"improvement": better.mean, "improvement_low": better.low, "improvement_high": better.high}
        rows.append(row)
    overall = pd.DataFrame(rows, columns=columns).sort_values("rank", kind="stable").reset_index(drop=True)
    return overall, ranks.ranks(sign * tasks), left


def _tasks(means: pd.DataFrame, study: Study) -> pd.DataFrame:
    """Mean scores, one row a source, target and backbone: the label budgets of a target are one task to ranks."""
    first = study.table.drop_duplicates(SETTING).set_index(SETTING)["run_id"]
    axes = [study.runs[first[setting]].axes for setting in means.index]
    return means.groupby([[str(one[axis]) for one in axes] for axis in SETTING]).mean()
