"""`transferlab select --regret STUDY`: what selecting would have cost where everything was run. Nothing is trained."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isnan, nan
from pathlib import Path

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as Shown

from transferlab import parsers
from transferlab.compare.metric import Metric
from transferlab.compare.reading import find
from transferlab.deciding.exhaustive import Table, tables
from transferlab.directions import sign
from transferlab.errors import InputError
from transferlab.files import check_writable, write_text
from transferlab.halving.regret import Regret, regret

FOLDER = "selection"
"""In a study's folder: what was selected there, a folder for each question, and what was looked back at."""
FLAG, NAME = "--regret", "regret"
_ALWAYS = "full_finetune"


@dataclass(frozen=True)
class Options:
    """What is looked back at.

    Attributes:
        study: its name, or its folder.
        runs: where studies lie.
        budgets: shares of the epochs that all candidates take.
        metric: of the test split; None: as in a comparison.
        factor: of successive halving.
        first: epochs before which no candidate is judged.
        draws: orders of the candidates under each seed.
        always: the strategy that is held against.
        keep: pairs of source and backbone that enter, the best by the score; 0: all.
        score: of a ranking in the study's folder.
    """

    study: str
    runs: Path
    budgets: Sequence[float]
    metric: str | None
    factor: int
    first: int
    draws: int
    always: str
    keep: int
    score: str


def options(words: Sequence[str]) -> Options:
    """The options of a command line.

    Raises:
        InputError: no such flag, or a budget that is no share.
    """
    parser = parsers.of(f"select {FLAG}", "What selecting would have cost in a study that ran everything.")
    parsers.add_runs(parser)
    add = parser.add_argument
    add(FLAG, dest="study", metavar="STUDY", required=True, help="a study, or its folder")
    add("--budgets", default="0.1,0.25,0.5", help="shares of the epochs of all, with commas between")
    add("--metric", help="of the test split (default: the task's, else what most runs were tested by)")
    add("--factor", type=int, default=2, help="choice.factor")
    add("--first", type=int, default=1, help="choice.first")
    add("--draws", type=int, default=20, help="orders of the candidates under each seed")
    add("--always", default=_ALWAYS, help="the strategy that is held against")
    add("--keep", type=int, default=2, help="choice.keep, where a ranking of the study has all pairs; 0: all enter")
    add("--score", default="logme", help="choice.score, of that ranking")
    found = vars(parser.parse_args(list(words)))
    return Options(budgets=_shares(found.pop("budgets")), **found)


def _shares(text: str) -> list[float]:
    try:
        shares = [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        shares = []
    if not shares or not all(0 < share <= 1 for share in shares):
        raise InputError(f"--budgets {text}: shares in (0, 1], with commas between, as in 0.1,0.25,0.5")
    return shares


def look_back(asked: Options) -> None:
    """Print and write the report.

    Raises:
        InputError: no such study, or nothing in it to choose from.
    """
    (study,) = find([asked.study], asked.runs)
    folder = Path(study) / FOLDER
    found = [(table, *_rows(table, asked)) for table in tables(Path(study), asked.metric)]
    check_writable(folder)
    frame = pd.concat([frame for _, frame, _ in found], ignore_index=True)
    frame.to_csv(folder / f"{NAME}.csv", index=False)
    write_text(folder / f"{NAME}.md", "\n\n".join(_markdown(*one, asked) for one in found) + "\n")
    console = Console(width=None if Console().is_terminal else 160)
    for table, rows, too_small in found:
        console.print(_shown(table, rows, asked))
        for line in (*_notes(table, asked), *too_small):
            console.print(line, soft_wrap=True, markup=False, highlight=False)
    console.print(f"report {folder / NAME}.md", soft_wrap=True, markup=False, highlight=False)


def _rows(table: Table, asked: Options) -> tuple[pd.DataFrame, list[str]]:
    """A row a budget, and what is to be said of those that are too small."""
    rows, small = [], []
    kept = _kept(table, asked)
    for budget in asked.budgets:
        settings = {"factor": asked.factor, "first": asked.first, "draws": asked.draws}
        try:
            rows.append(asdict(regret(table.known, table.whole, budget, always=asked.always, kept=kept, **settings)))
        except InputError as error:
            small.append(f"{budget:.0%} of the epochs: {error}")
    if not rows:
        raise InputError(f"{table.target}: {small[0]}")
    frame = pd.DataFrame(rows, columns=list(Regret.__dataclass_fields__))
    frame.insert(0, "target", table.target)
    frame.insert(1, "metric", table.metric.name)
    frame.insert(2, "candidates", len(table.known))
    return frame, small


def _columns(metric: Metric, asked: Options) -> list[str]:
    unit = "points" if metric.is_share else metric.name
    return ["budget", "spent", f"selected ({unit})", "worst search", "chance", f"always {asked.always}", "twin chosen"]


def _cells(row: "pd.Series[float]", metric: Metric) -> list[str]:
    lost = [metric.text(row[key]) for key in ("selected", "worst", "chance", "always")]
    return [
        f"{row['budget']:.0%}",
        f"{row['spent']:.0%}",
        *lost,
        "-" if isnan(row["guarded"]) else f"{row['guarded']:.0%}",
    ]


def _shown(table: Table, rows: pd.DataFrame, asked: Options) -> Shown:
    shown = Shown(box=SIMPLE_HEAD, title=_title(table), title_justify="left")
    for name in _columns(table.metric, asked):
        shown.add_column(name, justify="right")
    for _, row in rows.iterrows():
        shown.add_row(*_cells(row, table.metric))
    return shown


def _markdown(table: Table, rows: pd.DataFrame, small: Sequence[str], asked: Options) -> str:
    names = _columns(table.metric, asked)
    lines = [f"# {_title(table)}", "", f"| {' | '.join(names)} |", f"|{' ---: |' * len(names)}"]
    lines += [f"| {' | '.join(_cells(row, table.metric))} |" for _, row in rows.iterrows()]
    return "\n".join([*lines, "", *_notes(table, asked), *small])


def _title(table: Table) -> str:
    return f"Loss against the best of {len(table.known)} candidates for {table.target}, {table.metric.name}"


def _kept(table: Table, asked: Options) -> list[tuple[str, str]] | None:
    """The pairs that enter, the best first; None: all, as too few are there or some lack the score."""
    pairs = dict.fromkeys(one.pair for one in table.known if not one.alone)
    scores = {pair: table.scores.get(pair, {}).get(asked.score, nan) for pair in pairs}
    if not 0 < asked.keep < len(scores) or any(isnan(value) for value in scores.values()):
        return None
    return sorted(scores, key=lambda pair: (sign(asked.score) * scores[pair], pair), reverse=True)[: asked.keep]


def _notes(table: Table, asked: Options) -> list[str]:
    seeds = list(table.known[0].test)
    told = [f"{len(seeds)} seeds; what is chosen under one is scored under the others."]
    if len(seeds) == 1:
        told = ["One seed alone: what is chosen under it is scored under it too, which flatters."]
    if (kept := _kept(table, asked)) is not None:
        pairs = len({one.pair for one in table.known if not one.alone})
        said = ", ".join("/".join(pair) for pair in kept)
        told.append(f"Of {pairs} pairs of source and backbone {len(kept)} entered, the best by {asked.score}: {said}.")
    if not any(one.twin for one in table.known):
        told.append("No candidate is a twin, so that nothing guards against harm.")
    if table.left_out:
        told.append(f"Left out, as they lack a seed: {', '.join(table.left_out)}.")
    return told
