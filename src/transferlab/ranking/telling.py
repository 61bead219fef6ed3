"""A ranking as a person or a program reads it: terminal, Markdown, CSV and JSON."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from transferlab import scored
from transferlab.compare.foretold import agreement
from transferlab.compare.markdown import escaped, table
from transferlab.compare.sheets import Sheet
from transferlab.directions import sign
from transferlab.files import write_text
from transferlab.ranking.measuring import WITHOUT
from transferlab.ranking.ranking import Ranking, Row

_NAMES, _GAP, _NONE = 2, 3, "-"


def show(ranking: Ranking, console: Console) -> None:
    """Print the candidates, what the scores say of one another, and what is left out and why."""
    sheet = candidates(ranking)
    heads, wide = ["\n".join(head.split("_")) for head in sheet.columns], console.width
    kept: list[int] = []
    for at, head in enumerate(heads):
        wide -= max(*map(len, head.split("\n")), *(len(row[at]) for row in sheet.rows)) + _GAP
        if at <= _NAMES or wide >= 0:
            kept.append(at)
    _print(sheet, [heads[at] for at in kept], kept, console)
    if dropped := [sheet.columns[at] for at in range(len(heads)) if at not in kept]:
        console.print(Text(f"Not shown for want of width, but in ranking.md: {', '.join(dropped)}."))
    sheet = scores(ranking)
    _print(sheet, list(sheet.columns), range(len(sheet.columns)), console)
    for line in _said(ranking):
        console.print(Text(line), soft_wrap=True)


def write(ranking: Ranking, folder: Path) -> list[Path]:
    """Write every form under a folder.

    Returns:
        The files: ranking.json (all of it), ranking.csv (a row a candidate), agreement.csv, ranking.md.

    Raises:
        InputError: the folder cannot be written.
    """
    files = {
        "ranking.csv": frame(ranking).to_csv(index=False),
        "agreement.csv": taus(ranking).to_csv(),
        "ranking.md": markdown(ranking),
    }
    written = [scored.write(folder, record(ranking))]
    for name, text in files.items():
        write_text(folder / name, text)
        written.append(folder / name)
    return written


def record(ranking: Ranking) -> dict[str, Any]:
    """All of it, for ranking.json."""
    found = taus(ranking)
    return {
        "target": ranking.target,
        "study": str(ranking.config.study),
        "settings": vars(ranking.settings),
        "functions": ranking.functions,
        "rows": [
            {
                "source": row.source,
                "backbone": row.backbone,
                "scores": dict(row.scores),
                "intervals": {name: list(ends) for name, ends in row.measured.intervals.items()},
                "missing": dict(row.measured.missing),
                "seconds": {"forward": row.seconds, **row.measured.seconds},
                "cached": row.cached,
                "samples": row.samples,
                "source_samples": row.source_samples,
                "features": row.features,
                "config": row.config,
            }
            for row in ranking.rows
        ],
        "agreement": {
            one: {other: value if value == value else None for other, value in row.items()}
            for one, row in found.to_dict("index").items()
        },
        "left_out": [vars(one) for one in ranking.left_out],
    }


def frame(ranking: Ranking) -> pd.DataFrame:
    """A row a candidate, to the last digit: its names, scores, ends of intervals, seconds and sizes."""
    return pd.DataFrame([_flat(row, ranking.names) for row in ranking.rows])


def taus(ranking: Ranking) -> pd.DataFrame:
    """How far every two scores agree."""
    return agreement([row.scores for row in ranking.rows], ranking.names)


def candidates(ranking: Ranking) -> Sheet:
    """The candidates in order with all scores."""
    by, *others = ranking.names
    rows = [
        (
            row.source,
            row.backbone,
            _scored(row, by),
            f"{row.seconds:.1f}{' cached' if row.cached else ''}",
            f"{sum(row.measured.seconds.values()):.1f}",
            *(_scored(row, name) for name in others),
        )
        for row in ranking.rows
    ]
    columns = ("source", "backbone", by, "pass_seconds", "scores_seconds", *others)
    return Sheet("ranking", f"{ranking.target}, by {ranking.settings.by}", columns, tuple(rows), "")


def scores(ranking: Ranking) -> Sheet:
    """What each score is: which way it is better, how it agrees with the one that sorts, what it takes."""
    by, found = ranking.settings.by, taus(ranking)
    rows = []
    for name in ranking.names:
        seconds = [row.measured.seconds[name] for row in ranking.rows if name in row.scores]
        better = "more" if sign(name) == 1 else "less"
        rows.append((name, better, str(len(seconds)), _number(found[by][name]), f"{max(seconds):.2f}"))
    columns = ("score", "better", "candidates", f"tau with {by}", "seconds, at most")
    return Sheet("scores", "Scores", columns, tuple(rows), "")


def markdown(ranking: Ranking) -> str:
    """The report."""
    matrix = taus(ranking)
    square = Sheet(
        "agreement",
        "Agreement",
        ("score", *ranking.names),
        tuple((name, *(_number(matrix[other][name]) for other in ranking.names)) for name in ranking.names),
        "",
    )
    parts = [f"# Sources and backbones for {escaped(ranking.target)}", table(candidates(ranking))]
    parts += ["## Scores", table(scores(ranking)), "## Agreement", table(square)]
    parts += ["\n".join(f"- {escaped(line)}" for line in _said(ranking)), "## How it is computed", *_method(ranking)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _said(ranking: Ranking) -> list[str]:
    """What is missing, and why; scores that lack the same are named together."""
    reasons: dict[str, list[str]] = {}
    for name, why in ranking.missing.items():
        reasons.setdefault(ranking.settings.off.get(name) or why.removeprefix(f"score {name} "), []).append(name)
    lines = [f"No {', '.join(names)}: {why}" for why, names in reasons.items()]
    return [*lines, *(f"Left out: {one.source} on {one.backbone}: {one.reason}" for one in ranking.left_out)]


def _method(ranking: Ranking) -> Sequence[str]:
    asked = ranking.settings
    draws = (
        f"Intervals are of 95 %, from {asked.bootstrap} draws of the samples with replacement within each class, the "
        "same for all candidates; the draws' percentiles are set off from their mean. Of some "
        f"there are none ({', '.join(sorted(WITHOUT))})."
    )
    return (
        f"Up to {asked.samples} training samples of the target whose labels are seen, or, where none is, without; and "
        "as many of a source that has data. The net is that from which a run would start.",
        "Agreement is Vigna's weighted Kendall tau over the candidates that have both scores, each turned so that more "
        "is better. Seconds are of the clock; intervals are not among them.",
        *([draws] if asked.bootstrap else []),
    )


def _print(sheet: Sheet, heads: Sequence[str], kept: Sequence[int], console: Console) -> None:
    shown = Table(title=Text(sheet.title, style="bold"), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for at, head in zip(kept, heads, strict=True):
        words = (at < _NAMES and sheet.name == "ranking") or at == 0
        shown.add_column(Text(head), justify="left" if words else "right", no_wrap=True)
    for row in sheet.rows:
        shown.add_row(*(Text(row[at]) for at in kept))
    console.print(shown)


def _flat(row: Row, names: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"source": row.source, "backbone": row.backbone}
    for name in names:
        found[name] = row.scores.get(name)
        if name in row.measured.intervals:
            found[f"{name}_low"], found[f"{name}_high"] = row.measured.intervals[name]
    found |= {"seconds_forward": row.seconds, "cached": row.cached}
    found |= {f"seconds_{name}": row.measured.seconds.get(name) for name in names}
    return found | {"samples": row.samples, "source_samples": row.source_samples, "features": row.features}


def _scored(row: Row, name: str) -> str:
    if name not in row.scores:
        return _NONE
    ends = row.measured.intervals.get(name)
    return _number(row.scores[name]) + ("" if ends is None else f" [{_number(ends[0])}, {_number(ends[1])}]")


def _number(value: float) -> str:
    """To three digits, without an exponent where that is short."""
    return _NONE if value != value else f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
