"""The comparison as a person or a program reads it: terminal, page, Markdown, LaTeX, CSV and pictures."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from transferlab.compare import page, plots
from transferlab.compare.comparison import Comparison
from transferlab.compare.latex import latex
from transferlab.compare.markdown import markdown
from transferlab.compare.processes import together
from transferlab.compare.sheets import Sheet, frames, sheets
from transferlab.compare.terminal import show
from transferlab.files import check_writable, write_bytes, write_text

__all__ = ["Sheet", "frames", "latex", "markdown", "numbers", "sheets", "show", "write"]

_CURVES = ("source", "target", "backbone", "strategy", "key", "epoch", "mean", "low", "high", "runs")


def write(comparison: Comparison, out: Path) -> dict[str, Path]:
    """Write every form under a folder.

    Args:
        comparison: as `comparison.analyse` gives it.
        out: the folder; made where it is missing.

    Returns:
        What lies where: `page` (comparison.html), `report` (comparison.md), `latex` (comparison.tex), `table`
        (comparison.csv: the main table to the last digit), each raw frame by its name (verdicts.csv, ...), each picture
        by its file name.

    Raises:
        InputError: the folder cannot be written.
    """
    check_writable(out, "--out")
    drawn = plots.drawable(comparison)
    _clear(out, plots.PICTURES.keys() - set(drawn))
    paths: dict[str, Path] = {}
    # pictures take longer than all else, and each half of them about as long as the other
    halves = (partial(_draw, comparison, names, out) for names in (drawn[::2], drawn[1::2]) if names)
    together([partial(_texts, comparison, out, paths), *halves])
    return paths | {f"{name}.{kind}": out / f"{name}.{kind}" for name in drawn for kind in plots.KINDS}


def _texts(comparison: Comparison, out: Path, paths: dict[str, Path]) -> None:
    """Write what is text, and say where into `paths`."""
    files = {"page": "html", "report": "md", "latex": "tex", "table": "csv"}
    paths |= {name: out / f"comparison.{suffix}" for name, suffix in files.items()}
    page.write(comparison, paths["page"])
    write_text(paths["report"], markdown(comparison))
    write_text(paths["latex"], latex(comparison))
    write_text(paths["table"], comparison.table.to_csv(index=False))
    for name, content in numbers(comparison):
        paths[name] = out / f"{name}.csv"
        write_bytes(paths[name], content.encode())


def _draw(comparison: Comparison, names: Sequence[str], out: Path) -> None:
    for name, image in plots.images(comparison, names):
        write_bytes(out / name, image)


def _clear(out: Path, names: Iterable[str]) -> None:
    """Remove the pictures of an earlier comparison that this one has not."""
    for name in names:
        for kind in plots.KINDS:
            (out / f"{name}.{kind}").unlink(missing_ok=True)


def numbers(comparison: Comparison) -> Iterator[tuple[str, str]]:
    """The raw frames as CSV, by name, to the last digit; one without rows has its head alone."""
    raw = {
        "verdicts": comparison.verdicts,
        "overall": comparison.overall,
        "honest": comparison.honest,
        "rules": comparison.rules,
        "rule_quality": comparison.rule_quality,
        "trials": comparison.trials,
        "efficiency": comparison.efficiency,
        "diagnostics": comparison.diagnostics,
        "foretold": comparison.foretold,
        "runs": comparison.study.table,
        "left_out": pd.DataFrame(
            [(item.where, item.kind, item.reason) for item in comparison.study.left_out],
            columns=["where", "kind", "reason"],
        ),
    }
    for name, frame in raw.items():
        yield name, frame.to_csv(index=False)
    yield "curves", _curves(comparison)


def _curves(comparison: Comparison) -> str:
    """Every band, a line an epoch; written by hand, as there may be a million of them."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerow(_CURVES)
    for place, found in comparison.bands.items():
        for key, band in found.items():
            head = io.StringIO()
            csv.writer(head, lineterminator="").writerow([*place, key])
            columns = (band.epochs, band.mean, band.low, band.high, band.runs)
            values = ([_text(value) for value in column.tolist()] for column in columns)
            file.writelines(f"{head.getvalue()},{','.join(cells)}\n" for cells in zip(*values, strict=True))
    return file.getvalue()


def _text(value: float) -> str:
    """A number to the last digit; nothing for NaN."""
    return repr(value) if value == value else ""
