"""The comparison in a terminal, or in a log where there is none."""

from collections.abc import Sequence
from textwrap import wrap

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.segment import Segments
from rich.table import Table
from rich.text import Text

from transferlab.compare.comparison import Comparison
from transferlab.compare.reading import LeftOut
from transferlab.compare.sheets.beyond import foretold, overall
from transferlab.compare.sheets.rules import rule_quality
from transferlab.compare.sheets.scores import AGAINST, summary
from transferlab.compare.sheets.sheet import Sheet
from transferlab.compare.verdicts import HARMS, NO_EVIDENCE, TRANSFERS
from transferlab.compare.wording import folded, one_line

# The word says it; the colour finds it.
_STYLES = {TRANSFERS: "bold green", HARMS: "bold red", NO_EVIDENCE: "yellow"}
# What a narrow terminal does without, first to go first; the files have it all.
_SPARE = ("rule", "seconds", "seeds", "p (Holm)", "runs", "settings", AGAINST)
_NAMES, _SHORTEST = "strategy", 14
_GAP = 2  # letters between columns


def show(comparison: Comparison, console: Console) -> None:
    """Print the summary of each setting, what all of them say, who won and why, what to mind, and what is left out.

    Args:
        comparison: as `comparison.analyse` gives it.
        console: of any width; columns are left out before a number is cut.
    """
    for sheet in (*summary(comparison), *overall(comparison), *rule_quality(comparison), *foretold(comparison)):
        _table(sheet, console)
    for setting, words in comparison.winners.items():
        console.print(Text(one_line(setting), style="bold"), soft_wrap=True)
        _paragraph(words, console)
        console.print()
    for note in comparison.notes:
        _paragraph(f"Note: {note}", console)
    for line in left_out(comparison.study.left_out):
        console.print(Text(line), soft_wrap=True)


def left_out(items: Sequence[LeftOut]) -> list[str]:
    """How many records are not compared, the first three of each kind by name, and where all of them are named."""
    if not items:
        return []
    kinds: dict[str, list[LeftOut]] = {}
    for item in items:
        kinds.setdefault(item.kind, []).append(item)
    lines = [f"Left out: {len(items):,} record{'s' * (len(items) > 1)}; left_out.csv names all of them."]
    for kind, found in sorted(kinds.items(), key=lambda entry: -len(entry[1])):
        lines.append(f"  {one_line(kind)}: {len(found):,}")
        lines += ["    " + one_line(f"{item.where}{': ' if item.reason else ''}{item.reason}") for item in found[:3]]
        lines += [f"    and {len(found) - 3:,} more"] * (len(found) > 3)
    return lines


def fitting(sheet: Sheet, width: int) -> tuple[Sheet, list[int], tuple[str, ...]]:
    """What of a sheet fits a width: its columns, how wide each is, and which had to go.

    Args:
        sheet: with a column of names first.
        width: of the terminal, in letters.
    """
    dropped: list[str] = []
    while True:
        kept = [at for at, head in enumerate(sheet.columns) if head not in dropped]
        rows = tuple(tuple(row[at] for at in kept) for row in sheet.rows)
        found = Sheet(sheet.name, sheet.title, tuple(sheet.columns[at] for at in kept), rows, sheet.note)
        wide = _narrowest(found)
        left = width - sum(wide[1:]) - _GAP * (len(wide) - 1)  # for the names
        spare = [head for head in _SPARE if head in found.columns]
        if left >= _shortest(rows) or not spare:
            return found, _spread(found, wide, max(left, _shortest(rows))), tuple(dropped)
        dropped.append(spare[0])


def _shortest(rows: Sequence[Sequence[str]]) -> int:
    """How wide the column of strategies must be: the strategy itself on one line, its variant on those below."""
    names = [row[0] for row in rows]
    return min(max(map(cell_len, names)), max(_SHORTEST, *(cell_len(name.partition(" ")[0]) for name in names)))


def _narrowest(sheet: Sheet) -> list[int]:
    """How wide each column must be: no cell is broken but a name, and a head between its words alone."""
    columns = zip(*sheet.rows, strict=True)
    heads = (max(map(len, head.split(" "))) for head in sheet.columns)
    return [max(head, *map(cell_len, cells)) for head, cells in zip(heads, columns, strict=True)]


def _spread(sheet: Sheet, wide: list[int], left: int) -> list[int]:
    """What is left goes to the names, then to the heads."""
    names = min(wide[0], left)
    found, left = [names], left - names
    for head, width in zip(sheet.columns[1:], wide[1:], strict=True):
        more = max(0, min(len(head) - width, left))
        found.append(width + more)
        left -= more
    return found


def _table(sheet: Sheet, console: Console) -> None:
    sheet, widths, dropped = fitting(sheet, console.width)
    shown = Table(title=Text(sheet.title, style="bold"), title_justify="left", box=SIMPLE_HEAD, pad_edge=False,
                  show_edge=False, collapse_padding=True)  # fmt: skip
    for head, width in zip(sheet.columns, widths, strict=True):
        left = head in (_NAMES, "rule", AGAINST)
        shown.add_column(
            Text("\n".join(wrap(head, width))),
            justify="left" if left else "right",
            width=width,
            no_wrap=head != _NAMES,
            overflow="fold",
        )
    for row in sheet.rows:
        # to Rich, brackets in plain strings are orders
        cells = [Text("\n".join(folded(row[0], widths[0]))), *map(Text, row[1:])]
        for cell, words in zip(cells, row, strict=True):
            cell.stylize(_STYLES.get(words, ""))
        shown.add_row(*cells)
    # a terminal that is narrower than the numbers breaks lines, and cuts nothing
    options = console.options.update_width(max(console.width, sum(widths) + _GAP * len(widths)))
    console.print(Segments(console.render(shown, options)), soft_wrap=True)
    if dropped:
        _paragraph(f"Not shown for want of width, but in comparison.md: {', '.join(dropped)}.", console)
    if "No verdict on" in sheet.note:
        _paragraph(sheet.note[sheet.note.index("No verdict on") :], console)
    console.print()


def _paragraph(words: str, console: Console) -> None:
    console.print(Text(one_line(words)))
