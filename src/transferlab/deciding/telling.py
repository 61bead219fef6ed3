"""What a selection found, in words: the report, the terminal's table, the config of what was chosen. No torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from transferlab.compare.metric import Metric
from transferlab.deciding.asking import Asked
from transferlab.deciding.confirming import Finalist, Outcome
from transferlab.deciding.pairing import Pairs
from transferlab.deciding.spending import Spent
from transferlab.files import write_text
from transferlab.halving.search import Reached, Rung, Search

CHOSEN, REPORT = "chosen.yaml", "report.md"
_SHOWN = 10  # candidates of a rung that are named


@dataclass(frozen=True)
class Decision:
    """All there is to tell.

    Attributes:
        asked: the question.
        entering: how many of its candidates are of pairs that enter.
        rule: of selection, by its name in the config.
        search: what was tried.
        outcome: what is chosen.
        spent: what it cost.
        pairs: what a score said of sources and backbones; None: it was not asked.
    """

    asked: Asked
    entering: int
    rule: str
    search: Search
    outcome: Outcome
    spent: Sequence[Spent]
    pairs: Pairs | None

    @property
    def verdict(self) -> str:
        """What is chosen, in a sentence."""
        chosen, guarded = self.outcome.chosen, self.outcome.guarded
        if guarded is not None:
            return f"Nothing that was tried helps: {guarded}. {chosen} is chosen."
        twin = next((name for name in self.outcome.finalists if name != chosen), None)
        beaten = (
            "" if twin is None else f": on validation it beats {twin}, which it is held against, under fresh seeds too"
        )
        return f"{chosen} is chosen{beaten}."

    @property
    def tested(self) -> Metric:
        """What the test split was scored by."""
        return Metric(f"test/{self.asked.config.task.metric}")


def write(decision: Decision, folder: Path) -> dict[str, Path]:
    """Write the report and the config; the files by what they are."""
    best = decision.outcome.finalists[decision.outcome.chosen]
    run = decision.asked.study / best.runs[0]
    how = f"transferlab train --config-dir {folder} --config-name {Path(CHOSEN).stem}"
    note = f"# Chosen by transferlab select ({REPORT} says why): {best.name}, seed {best.seeds[0]}\n# {how}\n"
    write_text(folder / CHOSEN, note + (run / "config.yaml").read_text())
    write_text(folder / REPORT, "\n".join(_report(decision, how)) + "\n")
    return {"config": folder / CHOSEN, "report": folder / REPORT}


def show(decision: Decision, console: Console) -> None:
    """Print what it was chosen from, what it cost and the verdict."""
    finalists = _table("under fresh seeds", "runs", "validation", decision.tested.label, "seconds")
    for one in decision.outcome.finalists.values():
        tests = _tests(one, decision.tested)
        finalists.add_row(one.name, str(len(one.runs)), _spread(one.validation), tests, f"{one.seconds:.1f}")
    cost = _table("spent on", "runs", "epochs", "seconds")
    for part in (*decision.spent, _total(decision.spent)):
        cost.add_row(part.on, str(part.runs), "-" if part.epochs is None else str(part.epochs), f"{part.seconds:.1f}")
    console.print(finalists)
    console.print(cost)
    console.print(decision.verdict, soft_wrap=True, markup=False, highlight=False)


def _table(first: str, *others: str) -> Table:
    table = Table(box=SIMPLE_HEAD)
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table


def _report(decision: Decision, how: str) -> list[str]:
    asked, search = decision.asked, decision.search
    axes = asked.candidates[0].axes
    lines = [f"# What to take for {axes['target']}", "", decision.verdict, "", f"    {how}", ""]
    lines += ["## Why", "", *_asked(decision), ""]
    lines += [line for place, rung in enumerate(search.rungs) for line in _rung(rung, place, decision)]
    lines += [*_fresh(decision), "", "## Spent", "", "| on | runs | epochs | seconds |", "| --- | ---: | ---: | ---: |"]
    for part in (*decision.spent, _total(decision.spent)):
        epochs = "-" if part.epochs is None else part.epochs
        lines.append(f"| {part.on} | {part.runs} | {epochs} | {part.seconds:.1f} |")
    everything = len(asked.candidates) * asked.whole
    share = search.epochs / everything
    lines += ["", f"The search took {search.epochs} epochs, {share:.0%} of the {everything} that all candidates take."]
    return lines


def _asked(decision: Decision) -> list[str]:
    asked, bracket = decision.asked, decision.search.bracket
    entered = f"{len(asked.candidates)} candidates were asked for"
    if decision.entering < len(asked.candidates):
        entered += f", {decision.entering} of them of these pairs"
    if bracket.entrants < decision.entering:
        entered += f", of which the budget of {asked.budget} had room for {bracket.entrants}"
    else:
        entered += f" and entered; the budget was {asked.budget}"
    rungs = ", ".join(map(str, bracket.rungs))
    judged = f"They were judged by selection={decision.rule}, after epochs {rungs} of {asked.whole}, "
    judged += f"under seed {asked.seed}."
    onward = (
        f"Of those at a rung one in {bracket.factor} went on, and always the best that takes nothing from a source."
    )
    short = "" if bracket.rungs[-1] == asked.whole else " The budget had no whole run for more than one."
    scores = [] if decision.pairs is None else [*decision.pairs.lines(), ""]
    equal = "Equal scores are told apart by their mean since the rung before."
    unread = "No test score was read before the choice was made."
    return [*scores, f"{entered}. {judged} {onward} {equal}{short} {unread}"]


def _rung(rung: Rung, place: int, decision: Decision) -> list[str]:
    ranked = sorted(rung.reached.items(), key=lambda item: item[1].rank, reverse=True)
    lines = [
        f"**After {rung.epochs} epochs**, {len(ranked)} candidates:",
        "",
        "| candidate | score | |",
        "| --- | ---: | --- |",
    ]
    for name, one in ranked[:_SHOWN]:
        lines.append(f"| {name} | {_score(one)} | {_became(name, rung, place, decision)} |")
    if len(ranked) > _SHOWN:
        lines.append(f"| and {len(ranked) - _SHOWN} more | | |")
    return [*lines, ""]


def _became(name: str, rung: Rung, place: int, decision: Decision) -> str:
    if place + 1 == len(decision.search.rungs):
        return "best" if name == decision.search.best else ""
    if name in rung.unaffordable:
        return "given up, as the budget ends"
    if name == rung.twin:
        return "goes on as the twin"
    return "goes on" if name in rung.passed else "given up"


def _fresh(decision: Decision) -> list[str]:
    found = decision.outcome.finalists.values()
    seeds = ", ".join(map(str, next(iter(found)).seeds))
    metric = decision.tested.label
    lines = [
        f"**Under fresh seeds** ({seeds}), trained whole:",
        "",
        f"| candidate | validation | {metric} |",
        "| --- | ---: | ---: |",
    ]
    lines += [f"| {one.name} | {_spread(one.validation)} | {_tests(one, decision.tested)} |" for one in found]
    return lines


def _total(spent: Sequence[Spent]) -> Spent:
    return Spent(
        "all",
        sum(one.runs for one in spent if one.epochs is not None),
        sum(one.epochs or 0 for one in spent),
        sum(one.seconds for one in spent),
    )


def _score(one: Reached) -> str:
    return "failed" if one.score != one.score else f"{one.score:.4f}"


def _spread(values: Sequence[float]) -> str:
    return f"{fmean(values):.4f}" + (f" ± {stdev(values):.4f}" if len(values) > 1 else "")


def _tests(one: Finalist, metric: Metric) -> str:
    known = [value for value in one.tests if value is not None]
    if not known:
        return "-"
    return metric.text(fmean(known)) + (f" ± {metric.text(stdev(known))}" if len(known) > 1 else "")
