"""`transferlab compare`: read, compare, print, write."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from transferlab.compare import records, report
from transferlab.compare.table import summarise


def compare(names: Sequence[str], runs: Path, baseline: str, metric: str, out: Path | None) -> None:
    """Compare the strategies of studies.

    Args:
        names: studies or folders; none: the only study under `runs`.
        runs: where studies lie.
        baseline: the strategy that the others are paired with.
        metric: of the selected epoch, e.g. `test/accuracy`.
        out: folder of the files written; None: the first study's own.

    Raises:
        InputError: nothing to compare, or no such study, metric or baseline.
    """
    study = records.load(records.find(names, runs), metric)
    table = summarise(study.runs, baseline)
    console = Console(width=None if Console().is_terminal else 160)
    report.show(table, metric, baseline, console)
    for path, reason in study.left_out:
        console.print(f"left out: {path}: {reason}", soft_wrap=True, markup=False)
    if int(table["seeds"].min()) < 3:
        console.print("Fewer than 3 seeds in a row: nothing can be concluded from it.")
    written = report.write(table, study.runs, metric, baseline, out or study.folder)
    for what, path in {**written, "runs": study.folder}.items():
        console.print(f"{what:8s} {path}", soft_wrap=True, markup=False, highlight=False)
